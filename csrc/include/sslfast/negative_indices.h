#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// For each true frame of mask (rows, length): `negatives` other true frames of its row, drawn with replacement.
// Strides in elements, outputs contiguous; writes sizeof(Index) * negatives bytes a frame. Negative k of frame t is
// word k % 4 of counter t * ceil(negatives / 4) + k / 4.
template <typename Index>
struct NegativeIndices {
  const bool* mask;
  int64_t rows, length, row_stride, stride;
  Seed seed;
  Rows row_ids;
  int64_t negatives;
  int32_t* frames;  // (rows, length) scratch: the true frames of each row, ascending
  int64_t* counts;  // (rows) scratch: how many
  Index* out;       // (rows, length, negatives): row * length + frame
};

namespace cpu {
void negative_indices(const NegativeIndices<int32_t>& p, int threads);
void negative_indices(const NegativeIndices<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t negative_indices(const NegativeIndices<int32_t>& p, cudaStream_t stream);
cudaError_t negative_indices(const NegativeIndices<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
