// Where the rows of a packed list begin, once the number of entries of every row is known: a block sums the counts of
// the rows before its own, so no launch is spent on a scan and nothing is atomic.
#pragma once

#include <cub/block/block_reduce.cuh>

#include "sslfast/launch.h"

namespace sslfast::cuda {

struct RowSlots {
  int64_t first;  // the slot of the row's first entry
  int64_t total;  // entries of all rows
};

// Called by all threads of a block of kThreads; ends with a barrier.
template <int kThreads>
__device__ RowSlots row_slots(const int64_t* counts, int64_t rows, int64_t r) {
  using Reduce = cub::BlockReduce<int64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ RowSlots shared;
  int64_t before = 0, total = 0;
  for (int64_t i = threadIdx.x; i < rows; i += kThreads) {
    total += counts[i];
    before += i < r ? counts[i] : 0;
  }
  before = Reduce(storage).Sum(before);
  __syncthreads();  // the reduction's storage is used again
  total = Reduce(storage).Sum(total);
  if (threadIdx.x == 0) shared = {before, total};
  __syncthreads();
  return shared;
}

// What lies behind the packed entries, a block's share of it: the slots with the numbers of its own row.
template <int kThreads>
__device__ void fill_unused(int64_t* slots, int64_t total, int64_t r, int64_t length) {
  for (int64_t i = threadIdx.x; i < length; i += kThreads) {
    if (r * length + i >= total) slots[r * length + i] = -1;
  }
}

}  // namespace sslfast::cuda
