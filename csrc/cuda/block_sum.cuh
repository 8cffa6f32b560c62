// The sum over a block, in an order that does not vary, in every thread.
#pragma once

namespace sslfast::cuda {

template <int kThreads, typename T>
__device__ T block_sum(T value) {
  __shared__ T parts[kThreads / 32];
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  __syncthreads();  // the parts of the sum before have been read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < kThreads / 32; ++w) sum += parts[w];
  return sum;
}

}  // namespace sslfast::cuda
