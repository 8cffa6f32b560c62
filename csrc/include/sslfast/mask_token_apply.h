#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// out (rows, length, width) = mask[row, l] ? mask_token : x[row, l]: a copy of elements of `element_size` bytes. What
// is masked is never read. Strides in elements; mask_token and out contiguous.
struct MaskTokenApply {
  const void* x;
  int64_t x_row_stride, x_token_stride, x_stride;
  const bool* mask;
  int64_t mask_row_stride, mask_stride;
  const void* mask_token;  // (width)
  int64_t rows, length, width, element_size;
  void* out;
};

// Rows whose sum a thread or block makes, in order: sums do not depend on threads or chips.
constexpr int64_t kMaskTokenRows = 128;

// Its backward in one pass over grad (rows, length, width), whose innermost stride is 1. Each result may be null.
struct MaskTokenApplyBackward {
  const void* grad;
  int64_t row_stride, token_stride;
  const bool* mask;
  int64_t mask_row_stride, mask_stride;
  int64_t rows, length, width;
  Dtype dtype;
  void* x;           // (rows, length, width): grad, zero where masked
  void* mask_token;  // (width): the sum of the masked rows, in float, or double for double
  void* scratch;     // the GPU's working memory, rows of `width` sums: as many as scratch_rows says
};

namespace cpu {
void mask_token_apply(const MaskTokenApply& p, int threads);
void mask_token_apply_backward(const MaskTokenApplyBackward& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t mask_token_apply(const MaskTokenApply& p, cudaStream_t stream);
cudaError_t mask_token_apply_backward(const MaskTokenApplyBackward& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
