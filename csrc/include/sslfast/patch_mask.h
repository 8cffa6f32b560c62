#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// MAE random masking: each row's patches in the order of (Philox word, index); the first `keep` stay. Patch l draws
// word l % 4 of counter l / 4. Outputs contiguous; writes 8 keep + 9 patches bytes per row and reads nothing.
struct PatchMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, patches, keep;
  int64_t* ids_keep;     // (rows, keep): the kept patches, first in order first
  int64_t* ids_restore;  // (rows, patches): place of each patch in the order, the inverse permutation
  bool* mask;            // (rows, patches): true where the patch is not kept
};

// out (rows, keep, width) = x[row, ids_keep[row, k]]: a copy of elements of `element_size` bytes, whatever they mean.
// Strides in elements, ids and out contiguous. Every id is in [0, patches of x).
struct PatchGather {
  const void* x;
  int64_t x_row_stride, x_patch_stride, x_stride;
  const int64_t* ids_keep;
  int64_t rows, keep, width, element_size;
  void* out;
};

// Its backward: out (rows, patches, width) = grad[row, ids_restore[row, l]] where that is below keep, else zero. Each
// row of `out` has one writer, so nothing is atomic and the result does not depend on the order of execution.
struct PatchScatter {
  const void* grad;
  int64_t grad_row_stride, grad_patch_stride, grad_stride;
  const int64_t* ids_restore;
  int64_t rows, patches, keep, width, element_size;
  void* out;
};

namespace cpu {
void patch_mask(const PatchMask& p, int threads);
void patch_gather(const PatchGather& p, int threads);
void patch_scatter(const PatchScatter& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t patch_mask(const PatchMask& p, cudaStream_t stream);
cudaError_t patch_gather(const PatchGather& p, cudaStream_t stream);
cudaError_t patch_scatter(const PatchScatter& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
