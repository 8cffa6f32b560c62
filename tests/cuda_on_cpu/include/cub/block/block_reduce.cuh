// CUB's reduction of a block: warps by shuffles, then the warps' results by thread 0 alone, with one barrier between.
// Another thread's result is garbage, and the storage may be used again only behind another barrier.
#pragma once

#include "cuda_runtime.h"

namespace cub {

template <typename T, int kThreads>
class BlockReduce {
  static_assert(kThreads % 32 == 0);

 public:
  struct TempStorage {
    T warps[kThreads / 32];
  };

  explicit BlockReduce(TempStorage& storage) : storage_(storage) {}

  template <typename Operation>
  T Reduce(T value, Operation operation, Site at = Site::current()) {
    cuda_on_cpu::need_threads(kThreads, at);
    const int thread = cuda_on_cpu::thread(), lane = cuda_on_cpu::lane();
    for (int distance = 1; distance < 32; distance *= 2) {
      const auto met = cuda_on_cpu::meet_warp(0xFFFFFFFFu, value, at);
      if (lane + distance < 32) value = operation(value, met.of(lane + distance));
    }
    if (lane == 0) storage_.warps[thread / 32] = value;
    __syncthreads(at);
    if (thread != 0) return cuda_on_cpu::garbage<T>();
    for (int warp = 1; warp < kThreads / 32; ++warp) value = operation(value, storage_.warps[warp]);
    return value;
  }

  T Sum(T value, Site at = Site::current()) {
    return Reduce(value, [](const T& a, const T& b) { return a + b; }, at);
  }

 private:
  TempStorage& storage_;
};

}  // namespace cub
