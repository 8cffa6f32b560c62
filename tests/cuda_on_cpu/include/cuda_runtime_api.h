// The part of CUDA's runtime that hosts call, as far as csrc uses it. Memory is the CPU's, and a stream has done its
// work when a call returns.
#pragma once

#include <cstddef>
#include <cstring>

#include "vector_types.h"

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct CUstream_st*;

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

// Of a small GPU, so that launches that depend on how many blocks it holds are of both kinds in tests of few rows.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 2;
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(memory, value, bytes);
  return cudaSuccess;
}

namespace cuda_on_cpu {
cudaError_t allow_dynamic_shared(const void* function, int bytes);
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return cuda_on_cpu::allow_dynamic_shared(reinterpret_cast<const void*>(kernel), bytes);
}
