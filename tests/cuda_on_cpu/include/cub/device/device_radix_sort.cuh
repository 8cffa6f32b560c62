// CUB's sort in memory: stable, by the bits [begin, end) of the keys. Called by the host.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "cuda_runtime.h"

namespace cub {

struct DeviceRadixSort {
  template <typename Value>
  static cudaError_t SortPairs(void* memory, size_t& bytes, const int32_t* keys, int32_t* sorted_keys,
                               const Value* values, Value* sorted_values, int count, int begin, int end,
                               cudaStream_t = nullptr) {
    if (!memory) {
      bytes = 1;
      return cudaSuccess;
    }
    const auto bits = [&](int i) {
      const uint32_t key = static_cast<uint32_t>(keys[i]) ^ 0x80000000u;
      return (key >> begin) & static_cast<uint32_t>((uint64_t{1} << (end - begin)) - 1);
    };
    std::vector<int> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return bits(a) < bits(b); });
    for (int i = 0; i < count; ++i) {
      sorted_keys[i] = keys[order[static_cast<size_t>(i)]];
      sorted_values[i] = values[order[static_cast<size_t>(i)]];
    }
    return cudaSuccess;
  }
};

}  // namespace cub
