// CUB's scan of a block: through the storage, which may be used again only behind another barrier.
#pragma once

#include "cuda_runtime.h"

namespace cub {

template <typename T, int kThreads>
class BlockScan {
 public:
  struct TempStorage {
    T at[kThreads], total;
  };

  explicit BlockScan(TempStorage& storage) : storage_(storage) {}

  // `total` is that of the values, without `initial`.
  template <typename Operation>
  void ExclusiveScan(T value, T& before, T initial, Operation operation, T& total, Site at = Site::current()) {
    cuda_on_cpu::need_threads(kThreads, at);
    const int thread = cuda_on_cpu::thread();
    storage_.at[thread] = value;
    __syncthreads(at);
    if (thread == 0) {
      T sum = storage_.at[0];
      storage_.at[0] = initial;
      for (int i = 1; i < kThreads; ++i) {
        const T next = operation(sum, storage_.at[i]);
        storage_.at[i] = operation(initial, sum);
        sum = next;
      }
      storage_.total = sum;
    }
    __syncthreads(at);
    before = storage_.at[thread];
    total = storage_.total;
  }

  void ExclusiveSum(T value, T& before, T& total, Site at = Site::current()) {
    ExclusiveScan(value, before, T{0}, [](const T& a, const T& b) { return a + b; }, total, at);
  }

 private:
  TempStorage& storage_;
};

}  // namespace cub
