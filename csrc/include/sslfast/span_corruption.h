#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// T5 span corruption of ids (rows, length): what each row keeps, with a sentinel in the place of each noise span, and
// the noise, each span behind its sentinel. Strides in elements, outputs contiguous. Reads 8 bytes a token and writes
// 8 a slot of the outputs. What does not fit in the outputs is not written.
template <typename Id>
struct SpanCorruption {
  const Id* ids;
  int64_t rows, length;
  int64_t ids_row_stride, ids_stride;
  const int64_t* lengths;  // (rows), or null: every row is full
  Seed seed;
  Rows row_ids;
  double noise_density, mean_span;
  bool anywhere;  // noise may begin a row and need not end it
  Id sentinel;    // of the first span
  int64_t sentinel_step;
  bool append_eos;
  Id eos, pad, ignore_index;
  int64_t input_length, target_length;
  Id* inputs;              // (rows, input_length), filled up with pad
  Id* targets;             // (rows, target_length), filled up with ignore_index
  int64_t* input_lengths;  // (rows)
};

namespace cpu {
void span_corruption(const SpanCorruption<int32_t>& p, int threads);
void span_corruption(const SpanCorruption<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t span_corruption(const SpanCorruption<int32_t>& p, cudaStream_t stream);
cudaError_t span_corruption(const SpanCorruption<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
