// Mask tokens in the place of masked tokens, and the gradients. Nothing is multiplied: what is masked is never read
// forward, and no gradient reaches it. Forward: one launch, one warp per row; (1 - r) of the tensor read, all written.
// Backward: grad is read once; a block holds some columns of kMaskTokenRows rows, copies what is not masked, writes
// zeros where it is, and leaves the sum of its masked rows, which column_sum.cuh folds: no atomics, equal in every run.
#include "column_sum.cuh"
#include "copy_units.cuh"
#include "packs.cuh"
#include "sslfast/mask_token_apply.h"

namespace sslfast::cuda {
namespace {

template <typename Unit>
__global__ void apply_rows(MaskTokenApply p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (i >= p.rows * p.length) return;
  const int64_t n = i / p.length, l = i % p.length;
  const bool masked = p.mask[n * p.mask_row_stride + l * p.mask_stride];
  const Unit* from = masked ? static_cast<const Unit*>(p.mask_token)
                            : static_cast<const Unit*>(p.x) + n * p.x_row_stride + l * p.x_token_stride;
  copy_row(static_cast<Unit*>(p.out) + i * p.width, from, p.width, masked ? int64_t{1} : p.x_stride);
}

constexpr int kThreads = 128;

template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) apply_backward(MaskTokenApplyBackward p, unsigned column_blocks) {
  const int64_t d = (static_cast<int64_t>(blockIdx.x % column_blocks) * kThreads + threadIdx.x) * kPack;
  if (d >= p.width) return;
  const int64_t chunk = blockIdx.x / column_blocks;
  const int64_t end = min(p.rows * p.length, (chunk + 1) * kMaskTokenRows);
  Wide<T> sums[kPack] = {};
#pragma unroll 4
  for (int64_t i = chunk * kMaskTokenRows; i < end; ++i) {
    const int64_t n = i / p.length, l = i % p.length;
    const bool masked = p.mask[n * p.mask_row_stride + l * p.mask_stride];
    const T* row = static_cast<const T*>(p.grad) + n * p.row_stride + l * p.token_stride;
    Wide<T> values[kPack] = {};
    if (masked && p.mask_token) add_pack<T, kPack>(sums, row + d);
    if (!p.x) continue;
    if (!masked) add_pack<T, kPack>(values, row + d);
    store_pack<T, kPack>(static_cast<T*>(p.x) + i * p.width + d, values);
  }
  if (!p.mask_token) return;
  for (int k = 0; k < kPack; ++k) static_cast<Wide<T>*>(p.scratch)[chunk * p.width + d + k] = sums[k];
}

template <typename T>
cudaError_t launch_backward(const MaskTokenApplyBackward& p, cudaStream_t stream) {
  constexpr int kPack = kFullPack<T>;
  const bool full = aligned(p.grad) && aligned(p.x) && p.width % kPack == 0 && p.row_stride % kPack == 0 &&
                    p.token_stride % kPack == 0;
  const int64_t chunks = (p.rows * p.length + kMaskTokenRows - 1) / kMaskTokenRows;
  const int64_t per_block = kThreads * (full ? kPack : 1), column_blocks = (p.width + per_block - 1) / per_block;
  if (chunks * column_blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (chunks * column_blocks > 0) {
    const unsigned grid = static_cast<unsigned>(chunks * column_blocks), columns = static_cast<unsigned>(column_blocks);
    if (full) {
      apply_backward<T, kPack><<<grid, kThreads, 0, stream>>>(p, columns);
    } else {
      apply_backward<T, 1><<<grid, kThreads, 0, stream>>>(p, columns);
    }
  }
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess || !p.mask_token) return error;
  return sum_columns(static_cast<Wide<T>*>(p.scratch), chunks, p.width, static_cast<Wide<T>*>(p.mask_token), stream);
}

}  // namespace

cudaError_t mask_token_apply(const MaskTokenApply& params, cudaStream_t stream) {
  MaskTokenApply p = params;
  bool wide = aligned(p.mask_token);
  wide = wide && widen(p.x, p.element_size, p.x_row_stride, p.x_token_stride, p.x_stride, p.width);
  return for_unit(wide, p.element_size, p.rows * p.length,
                  [&](auto unit, dim3 grid, dim3 block) { apply_rows<decltype(unit)><<<grid, block, 0, stream>>>(p); });
}

cudaError_t mask_token_apply_backward(const MaskTokenApplyBackward& p, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = launch_backward<decltype(element)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
