// MAE's decoder input and its gradients. The shuffled sequence with its mask tokens is never made, nor an index per
// element. Forward: one launch, one warp per place; (prefix + keep) D e a row read, L D e written. Backward: grad is
// read once; a block holds some columns of one place and goes through kUnshuffleRows rows of the batch in order, writes
// the gradients of tokens and leaves sums over its rows, which column_sum.cuh folds: no atomics, equal in every run.
// grad_tokens[n, ids_restore[n, l]] = grad[n, l]; grad_mask_token = sum over masked (n, l); grad_positions = sum over
// n.
#include "column_sum.cuh"
#include "copy_units.cuh"
#include "packs.cuh"
#include "shared/patch_place.h"
#include "sslfast/patch_unshuffle.h"

namespace sslfast::cuda {
namespace {

template <typename In, typename Out, int kPack>
__global__ void unshuffle_rows(PatchUnshuffle p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int64_t length = p.prefix + p.patches;
  if (i >= p.rows * length) return;
  const int64_t n = i / length, l = i % length;
  const int64_t token = token_at(p.ids_restore + n * p.patches, l, p.prefix, p.keep);
  const In* row = static_cast<const In*>(p.tokens) + n * p.row_stride + token * p.token_stride;
  const Out* positions = static_cast<const Out*>(p.positions);
  for (int64_t d = threadIdx.x * kPack; d < p.width; d += kWarp * kPack) {
    Wide<Out> values[kPack] = {};
    if (token >= 0) {
      add_pack<In, kPack>(values, row + d);
    } else {
      add_pack<Out, kPack>(values, static_cast<const Out*>(p.mask_token) + d);
    }
    if (positions) add_pack<Out, kPack>(values, positions + l * p.width + d);
    store_pack<Out, kPack>(static_cast<Out*>(p.out) + i * p.width + d, values);
  }
}

constexpr int kThreads = 128;

// Grid: places, chunks of rows, blocks of columns.
template <typename In, typename Out, int kPack>
__global__ void __launch_bounds__(kThreads) unshuffle_backward(PatchUnshuffleBackward p) {
  using Sum = Wide<Out>;
  const int64_t d = (static_cast<int64_t>(blockIdx.z) * kThreads + threadIdx.x) * kPack;
  if (d >= p.width) return;
  const int64_t l = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * kUnshuffleRows;
  const int rows = static_cast<int>(min(p.rows - first, kUnshuffleRows));
  const int64_t* ids_restore = p.ids_restore + first * p.patches;
  const Out* grad = static_cast<const Out*>(p.grad) + first * p.row_stride + l * p.token_stride + d;
  const int64_t tokens_of_row = (p.prefix + p.keep) * p.width;
  In* tokens = p.tokens ? static_cast<In*>(p.tokens) + first * tokens_of_row + d : nullptr;
  Sum of_place[kPack] = {}, of_masked[kPack] = {};
#pragma unroll 2
  for (int i = 0; i < rows; ++i, ids_restore += p.patches, grad += p.row_stride) {
    const int64_t token = token_at(ids_restore, l, p.prefix, p.keep);
    Sum values[kPack] = {};
    add_pack<Out, kPack>(values, grad);
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
      of_place[k] += values[k];
      of_masked[k] += token < 0 ? values[k] : Sum{0};
    }
    if (token >= 0 && tokens) store_pack<In, kPack>(tokens + i * tokens_of_row + token * p.width, values);
  }
  const int64_t part = (static_cast<int64_t>(blockIdx.y) * gridDim.x + l) * p.width + d;
  for (int k = 0; k < kPack; ++k) {
    if (p.positions) static_cast<Sum*>(p.position_scratch)[part + k] = of_place[k];
    if (p.mask_token) static_cast<Sum*>(p.mask_scratch)[part + k] = of_masked[k];
  }
}

template <typename In, typename Out>
void launch_forward(const PatchUnshuffle& p, dim3 grid, dim3 block, cudaStream_t stream) {
  constexpr int kPack = kFullPack<Out>;
  const bool full = aligned(p.tokens) && aligned(p.mask_token) && aligned(p.positions) && aligned(p.out) &&
                    p.width % kPack == 0 && p.row_stride % kPack == 0 && p.token_stride % kPack == 0;
  if (full) {
    unshuffle_rows<In, Out, kPack><<<grid, block, 0, stream>>>(p);
  } else {
    unshuffle_rows<In, Out, 1><<<grid, block, 0, stream>>>(p);
  }
}

template <typename In, typename Out>
cudaError_t launch_backward(const PatchUnshuffleBackward& p, cudaStream_t stream) {
  using Sum = Wide<Out>;
  constexpr int kPack = kFullPack<Out>;
  const int64_t length = p.prefix + p.patches, chunks = (p.rows + kUnshuffleRows - 1) / kUnshuffleRows;
  const bool full = aligned(p.grad) && aligned(p.tokens) && p.width % kPack == 0 && p.row_stride % kPack == 0 &&
                    p.token_stride % kPack == 0;
  const int64_t per_block = kThreads * (full ? kPack : 1), column_blocks = (p.width + per_block - 1) / per_block;
  if (length > INT32_MAX || chunks > UINT16_MAX || column_blocks > UINT16_MAX) return cudaErrorInvalidConfiguration;
  if (chunks * column_blocks > 0) {
    const dim3 grid(static_cast<unsigned>(length), static_cast<unsigned>(chunks), static_cast<unsigned>(column_blocks));
    if (full) {
      unshuffle_backward<In, Out, kPack><<<grid, kThreads, 0, stream>>>(p);
    } else {
      unshuffle_backward<In, Out, 1><<<grid, kThreads, 0, stream>>>(p);
    }
  }
  cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess && p.positions) {
    error = sum_columns(static_cast<Sum*>(p.position_scratch), chunks, length * p.width, static_cast<Sum*>(p.positions),
                        stream);
  }
  if (error == cudaSuccess && p.mask_token) {
    error = sum_columns(static_cast<Sum*>(p.mask_scratch), chunks * length, p.width, static_cast<Sum*>(p.mask_token),
                        stream);
  }
  return error;
}

// Calls function with values of the types of tokens and of the decoder's input.
template <typename Function>
void by_dtypes(Dtype dtype, Dtype out_dtype, Function function) {
  by_dtype(dtype, [&](auto in) {
    if (out_dtype == dtype) return function(in, in);
    if constexpr (sizeof(in) == 2) function(in, float{});
  });
}

}  // namespace

cudaError_t patch_unshuffle(const PatchUnshuffle& p, cudaStream_t stream) {
  return for_rows(p.rows * (p.prefix + p.patches), [&](dim3 grid, dim3 block) {
    by_dtypes(p.dtype, p.out_dtype,
              [&](auto in, auto out) { launch_forward<decltype(in), decltype(out)>(p, grid, block, stream); });
  });
}

cudaError_t patch_unshuffle_backward(const PatchUnshuffleBackward& p, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  by_dtypes(p.dtype, p.out_dtype,
            [&](auto in, auto out) { error = launch_backward<decltype(in), decltype(out)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
