// The lanes of csrc/shared's blocks as the threads of a GPU's.
#pragma once

#include "image_augment_memory.cuh"
#include "shared/image_augment_view.h"

namespace sslfast::cuda {
namespace {

// Compiled once: inlined, it would be most of every kernel.
__device__ __noinline__ void read_once(const ImageAugment& p, const float* params, const Image& image,
                                       augment::View& view) {
  augment::read_view(p, params, image, view);
}

struct Threads {
  int32_t lane, lanes;

  __device__ void read_view(const ImageAugment& p, const float* params, const Image& image, augment::View& view) const {
    read_once(p, params, image, view);
  }

  __device__ void barrier() const { __syncthreads(); }
  __device__ void add(int32_t* at, int32_t n) const { atomicAdd(at, n); }
};

// Lets a kernel have `floats` of dynamic shared memory: the most that any of its launches asks for, since the limit is
// the process's, and a launch by another thread, or in a graph, may be under way with another list.
template <typename Kernel>
cudaError_t allow_shared(Kernel* kernel, int32_t floats) {
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, floats * 4);
  if (error != cudaSuccess) cudaGetLastError();  // it is returned, and not to be found by a later launch
  return error;
}

}  // namespace
}  // namespace sslfast::cuda
