// CUB's sort of a block: stable, thread after thread, a thread's items side by side.
#pragma once

#include <algorithm>
#include <numeric>

#include "cuda_runtime.h"

namespace cub {

template <typename Key, int kThreads, int kItems, typename Value>
class BlockRadixSort {
 public:
  struct TempStorage {
    Key keys[kThreads * kItems];
    Value values[kThreads * kItems];
    int order[kThreads * kItems];
  };

  explicit BlockRadixSort(TempStorage& storage) : storage_(storage) {}

  void Sort(Key (&keys)[kItems], Value (&values)[kItems], Site at = Site::current()) {
    cuda_on_cpu::need_threads(kThreads, at);
    const int first = cuda_on_cpu::thread() * kItems;
    for (int i = 0; i < kItems; ++i) {
      storage_.keys[first + i] = keys[i];
      storage_.values[first + i] = values[i];
    }
    __syncthreads(at);
    if (cuda_on_cpu::thread() == 0) {
      int* const order = storage_.order;
      std::iota(order, order + kThreads * kItems, 0);
      std::stable_sort(order, order + kThreads * kItems,
                       [&](int a, int b) { return storage_.keys[a] < storage_.keys[b]; });
    }
    __syncthreads(at);
    for (int i = 0; i < kItems; ++i) {
      keys[i] = storage_.keys[storage_.order[first + i]];
      values[i] = storage_.values[storage_.order[first + i]];
    }
  }

 private:
  TempStorage& storage_;
};

}  // namespace cub
