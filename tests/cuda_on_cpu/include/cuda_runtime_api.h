// The part of CUDA's runtime that hosts call, as far as csrc uses it. Memory is the CPU's, and a stream has done its
// work when a call returns.
#pragma once

#include <cstddef>
#include <cstring>

#include "vector_types.h"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorCooperativeLaunchTooLarge = 82,
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct CUstream_st*;

enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative = 2 };
union cudaLaunchAttributeValue {
  int cooperative;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace cuda_on_cpu {
int processors();
int blocks_each(int threads, std::size_t shared_bytes);  // that a multiprocessor holds
void set_memory(void* memory, int value, std::size_t bytes);
cudaError_t allow_dynamic_shared(const void* function, int bytes);
}  // namespace cuda_on_cpu

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = cuda_on_cpu::processors();
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  cuda_on_cpu::set_memory(memory, value, bytes);
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int threads, std::size_t shared_bytes) {
  *blocks = cuda_on_cpu::blocks_each(threads, shared_bytes);
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return cuda_on_cpu::allow_dynamic_shared(reinterpret_cast<const void*>(kernel), bytes);
}
