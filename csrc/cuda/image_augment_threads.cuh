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

}  // namespace
}  // namespace sslfast::cuda
