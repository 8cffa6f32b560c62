// The sum over the rows of partial sums, in an order that depends on their number alone: nothing is atomic. Up to
// kFoldRows rows are folded by one block per 32 columns; of more, kFoldRows each first, into the rows behind them.
#pragma once

#include "sslfast/launch.h"
#include "sslfast/scratch_rows.h"

namespace sslfast::cuda {

constexpr int kFoldLanes = 16;  // rows that a block reads at a time

template <typename T>
__global__ void __launch_bounds__(32 * kFoldLanes)
    fold_columns(const T* partial, int64_t rows, int64_t group_rows, int64_t width, unsigned column_blocks, T* out) {
  __shared__ T sums[kFoldLanes][32];
  const int64_t column = static_cast<int64_t>(blockIdx.x % column_blocks) * 32 + threadIdx.x;
  const int64_t group = blockIdx.x / column_blocks;
  const int64_t end = min(rows, (group + 1) * group_rows);
  T sum = 0;
  if (column < width) {
    for (int64_t r = group * group_rows + threadIdx.y; r < end; r += kFoldLanes) sum += partial[r * width + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  for (int half = kFoldLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && column < width) out[group * width + column] = sums[0][threadIdx.x];
}

// `partial` is (scratch_rows(rows), width), of which the first `rows` rows hold sums; no rows give zeros.
template <typename T>
cudaError_t sum_columns(T* partial, int64_t rows, int64_t width, T* out, cudaStream_t stream) {
  if (width == 0) return cudaSuccess;
  const int64_t column_blocks = (width + 31) / 32;
  const int64_t groups = (rows + kFoldRows - 1) / kFoldRows;
  if (column_blocks * (groups + 1) > INT32_MAX) return cudaErrorInvalidConfiguration;
  const dim3 block(32, kFoldLanes);
  const unsigned columns = static_cast<unsigned>(column_blocks);
  if (groups > 1) {
    T* folded = partial + rows * width;
    fold_columns<<<static_cast<unsigned>(groups) * columns, block, 0, stream>>>(partial, rows, kFoldRows, width,
                                                                                columns, folded);
    partial = folded;
    rows = groups;
  }
  fold_columns<<<columns, block, 0, stream>>>(partial, rows, rows, width, columns, out);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
