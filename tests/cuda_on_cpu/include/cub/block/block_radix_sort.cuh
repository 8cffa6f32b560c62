// CUB's sort of a block: stable, thread after thread, a thread's items side by side.
#pragma once

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace cub {

template <typename Key, int kThreads, int kItems, typename Value>
class BlockRadixSort {
 public:
  struct TempStorage {  // no less than CUB's, which has keys and values in one place, one after the other
    Key keys[kThreads * kItems];
    Value values[kThreads * kItems];
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
      std::vector<std::pair<Key, Value>> pairs(kThreads * kItems);
      for (int i = 0; i < kThreads * kItems; ++i) pairs[i] = {storage_.keys[i], storage_.values[i]};
      std::stable_sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (int i = 0; i < kThreads * kItems; ++i) std::tie(storage_.keys[i], storage_.values[i]) = pairs[i];
    }
    __syncthreads(at);
    for (int i = 0; i < kItems; ++i) {
      keys[i] = storage_.keys[first + i];
      values[i] = storage_.values[first + i];
    }
  }

 private:
  TempStorage& storage_;
};

}  // namespace cub
