#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// out (rows, keep, width) = x[row % x_rows, ids[row, k]]: a copy of elements of `element_size` bytes, whatever they
// mean, and zero where the id is outside of [0, patches). Strides in elements, ids and out contiguous.
struct PatchGather {
  const void* x;
  int64_t x_row_stride, x_patch_stride, x_stride;
  const int64_t* ids;
  int64_t rows, x_rows, patches, keep, width, element_size;
  void* out;
};

// Its backward where the ids are a part of a permutation: out (rows, patches, width) = grad[row, ids_restore[row, l]]
// where that is below keep, else zero. Each row of `out` has one writer, so nothing is atomic and the result does not
// depend on the order of execution.
struct PatchScatter {
  const void* grad;
  int64_t grad_row_stride, grad_patch_stride, grad_stride;
  const int64_t* ids_restore;
  int64_t rows, patches, keep, width, element_size;
  void* out;
};

// Its backward for any ids: out (x_rows, patches, width) is the sum of the rows of grad (rows, keep, width) that came
// from there, in their order, rounded once. One writer per row of `out` again. grad's innermost stride is 1.
struct PatchSum {
  const void* grad;
  int64_t grad_row_stride, grad_patch_stride;
  const int64_t* ids;
  int64_t rows, x_rows, patches, keep, width;
  Dtype dtype;
  void* out;
};

namespace cpu {
// Whether all ids are in [0, patches).
bool patch_ids_in_range(const int64_t* ids, int64_t count, int64_t patches);
void patch_gather(const PatchGather& p, int threads);
void patch_scatter(const PatchScatter& p, int threads);
void patch_sum(const PatchSum& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t patch_gather(const PatchGather& p, cudaStream_t stream);
cudaError_t patch_scatter(const PatchScatter& p, cudaStream_t stream);
cudaError_t patch_sum(const PatchSum& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
