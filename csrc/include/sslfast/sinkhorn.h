// Sinkhorn-Knopp over scores (N, K) by the potentials of the prototypes alone: Q, rows that sum to 1, is the softmax
// over k of scale * score + potential, and the prototypes' masses are the sums of its columns. No matrix is stored.
#pragma once

#include <cstdint>

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

struct Sinkhorn {
  const void* scores;  // (samples, prototypes), rows apart by row_stride, within a row contiguous
  Dtype dtype;
  int64_t samples, prototypes, row_stride;
  double scale;         // 1 / temperature
  const void* weights;  // (samples) of the type of sums, or null; a sample of weight 0 is not read, others count as one
  const void* potentials;  // (prototypes) of the type of sums; of masses and assign
  void* out;               // (prototypes), or of assign (rows, prototypes); of the type of sums
  void* tops;              // of peaks: (prototypes), of the type of sums
  void* partial;           // of masses and potentials: (chunks of kSinkhornChunk samples, prototypes)

  template <typename T>
  bool takes(int64_t sample) const {
    return !weights || static_cast<const T*>(weights)[sample] != 0;
  }
};

constexpr int64_t kSinkhornChunk = 16;  // samples that one thread sums: the number of threads does not matter

namespace cpu {

// tops = max_n score; out = sum_n exp(scale * (score - top)): masses before the first iteration.
void sinkhorn_peaks(const Sinkhorn& params, int threads);
// out = sum_n Q.
void sinkhorn_masses(const Sinkhorn& params, int threads);
// out = the potentials after so many iterations, at least 1; the largest is 0.
void sinkhorn_potentials(const Sinkhorn& params, int iterations, int threads);
// out = Q of the first `rows` samples.
void sinkhorn_assign(const Sinkhorn& params, int64_t rows, int threads);

}  // namespace cpu
}  // namespace sslfast
