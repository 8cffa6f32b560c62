// Whole-word masking, one block per row, two launches, no host synchronisation.
// What a token has to know of its word is a running maximum over keys (whole_word_places.h), a scan of the block. No
// (length, length) comparison of words is made, and the keys are never stored. Launch 1 counts the masked tokens of
// each row; launch 2 makes the keys again and writes ids, labels and the packed positions in the order of the CPU.
// With budgets launch 1 takes word after word and leaves in the labels, which launch 2 overwrites, which were taken.
// Bytes per int64 token: 16 of ids and 16 (32 with offsets) of words read, 24 written.
#include <cub/block/block_scan.cuh>

#include "../shared/word_budget.h"
#include "row_slots.cuh"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 4;  // per thread and step: the four words of one Philox counter
constexpr int kTaken = -1;  // in the labels between the launches; else the length of a word that may fit, or 0

using Ranks = cub::BlockScan<int, kThreads>;
using Starts = cub::BlockScan<uint64_t, kThreads>;

struct Later {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return later_key(a, b); }
};

// keys[k]: of token first + k, its word's. `carry` is the key of the token before the block's step. Called by all
// threads of the block, with a barrier between two calls.
template <bool kBudgets, typename Id>
__device__ void word_keys(const WholeWordMask<Id>& p, uint64_t seed, int64_t r, int64_t first, int64_t forced,
                          typename Starts::TempStorage& storage, uint64_t& carry, uint64_t (&keys)[kTokens]) {
  uint64_t last = 0;
  Words w{};
  if (!kBudgets) w = philox(seed, Stream::kWordSelect, p.row_ids[r], static_cast<uint32_t>(first / kTokens));
  for (int k = 0; k < kTokens; ++k) {
    const int64_t t = first + k;
    keys[k] = 0;
    if (t < p.length) {
      const bool drawn = kBudgets ? p.labels[r * p.length + t] == kTaken : w.word[k] < p.select_threshold;
      keys[k] = word_key(word_place(p, r, t), t, drawn || t == forced);
    }
    last = later_key(last, keys[k]);
  }
  uint64_t before, all;
  Starts(storage).ExclusiveScan(last, before, uint64_t{0}, Later{}, all);
  before = later_key(before, carry);
  carry = later_key(carry, all);
  for (int k = 0; k < kTokens; ++k) keys[k] = before = later_key(before, keys[k]);
}

template <typename Id>
__device__ int count_hits(const WholeWordMask<Id>& p, uint64_t seed, int64_t r, int64_t forced,
                          typename Starts::TempStorage& storage) {
  int count = 0;
  uint64_t carry = 0;
  for (int64_t base = 0; base < p.length; base += kThreads * kTokens) {  // all threads: the scan is a barrier
    const int64_t first = base + threadIdx.x * kTokens;
    uint64_t keys[kTokens];
    word_keys<false>(p, seed, r, first, forced, storage, carry, keys);
    for (int k = 0; k < kTokens; ++k) count += first + k < p.length && is_drawn(keys[k]);
    __syncthreads();  // the scan's storage is used again
  }
  return count;
}

// The first token of the row's word with the least select word, or -1; right in thread 0 alone.
template <typename Id>
__device__ int64_t least_word(const WholeWordMask<Id>& p, uint64_t seed, int64_t r) {
  using Reduce = cub::BlockReduce<uint64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  uint64_t least = UINT64_MAX;  // select word, then token: the first of equals
  for (int64_t first = threadIdx.x * kTokens; first < p.length; first += kThreads * kTokens) {
    const Words w = philox(seed, Stream::kWordSelect, p.row_ids[r], static_cast<uint32_t>(first / kTokens));
    for (int k = 0; k < kTokens && first + k < p.length; ++k) {
      const uint64_t key = static_cast<uint64_t>(w.word[k]) << 32 | static_cast<uint64_t>(first + k);
      if (key < least && word_place(p, r, first + k) == WordPlace::kStart) least = key;
    }
  }
  least = Reduce(storage).Reduce(least, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
  return least == UINT64_MAX ? -1 : static_cast<int64_t>(least & 0xFFFFFFFFu);
}

template <typename Id>
__global__ void __launch_bounds__(kThreads) count_rows(WholeWordMask<Id> p) {
  using Reduce = cub::BlockReduce<int, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ typename Starts::TempStorage starts;
  __shared__ int total;
  __shared__ int64_t forced;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  int count = Reduce(storage).Sum(count_hits(p, seed, r, -1, starts));
  if (p.forced) {
    if (threadIdx.x == 0) total = count, forced = -1;
    __syncthreads();
    if (total == 0) {
      const int64_t least = least_word(p, seed, r);
      if (threadIdx.x == 0) forced = least;
      __syncthreads();
      count = Reduce(storage).Sum(count_hits(p, seed, r, forced, starts));
    }
    if (threadIdx.x == 0) p.forced[r] = forced;
  }
  if (threadIdx.x == 0) p.counts[r] = count;
}

// One word a step: the first in the order among those that fit. Reads the row once for every word that it masks.
template <typename Id>
__global__ void __launch_bounds__(kThreads) take_words(WholeWordMask<Id> p) {
  using Reduce = cub::BlockReduce<uint64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ int64_t left;
  __shared__ bool more;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  const int64_t budget = row_budget(p, r);
  Id* state = p.labels + r * p.length;
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) {
    const bool starts = word_place(p, r, t) == WordPlace::kStart;
    state[t] = static_cast<Id>(starts ? fitting_length(p, r, t, budget) : 0);
  }
  if (threadIdx.x == 0) left = budget, more = budget > 0;
  __syncthreads();
  while (more) {
    uint64_t next = UINT64_MAX;
    for (int64_t first = threadIdx.x * kTokens; first < p.length; first += kThreads * kTokens) {
      bool fits[kTokens], any = false;
      for (int k = 0; k < kTokens; ++k) {
        fits[k] = first + k < p.length && state[first + k] > 0 && state[first + k] <= left;
        any |= fits[k];
      }
      if (!any) continue;
      const Words w = philox(seed, Stream::kWordSelect, p.row_ids[r], static_cast<uint32_t>(first / kTokens));
      for (int k = 0; k < kTokens; ++k) {
        const uint64_t key = order_key(w.word[k], first + k);
        if (fits[k] && key < next) next = key;
      }
    }
    next = Reduce(storage).Reduce(next, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
    if (threadIdx.x == 0) {  // the others have read left and more: the reduction is a barrier
      if (next != UINT64_MAX) {
        const int64_t t = ordered_word(next);
        left -= state[t];
        state[t] = kTaken;
      }
      more = next != UINT64_MAX && left > 0;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) p.counts[r] = budget - left;
}

template <bool kBudgets, typename Id>
__global__ void __launch_bounds__(kThreads) mask_rows(WholeWordMask<Id> p) {
  __shared__ typename Ranks::TempStorage ranks;
  __shared__ typename Starts::TempStorage starts;
  const int64_t r = blockIdx.x;
  const uint64_t row = p.row_ids[r];
  const uint64_t seed = p.seed.get();
  const RowSlots slots = row_slots<kThreads>(p.counts, p.rows, r);
  const int64_t forced = p.forced ? p.forced[r] : -1;
  int64_t slot = slots.first;
  uint64_t carry = 0;
  for (int64_t base = 0; base < p.length; base += kThreads * kTokens) {  // all threads: the scans are barriers
    const int64_t first = base + threadIdx.x * kTokens;
    uint64_t keys[kTokens];
    word_keys<kBudgets>(p, seed, r, first, forced, starts, carry, keys);
    int hits = 0, rank, found;
    for (int k = 0; k < kTokens; ++k) hits += first + k < p.length && is_drawn(keys[k]);
    Ranks(ranks).ExclusiveSum(hits, rank, found);
    for (int k = 0; k < kTokens && first + k < p.length; ++k) {
      const int64_t t = first + k, at = r * p.length + t;
      const Id id = p.ids[r * p.ids_row_stride + t * p.ids_stride];
      Id out = id, label = p.ignore_index;
      if (is_drawn(keys[k])) {
        const int64_t start = word_start(keys[k]);
        const Words w = philox(seed, Stream::kWordReplace, row, static_cast<uint32_t>(t));
        const uint32_t kind = p.replace_words && t != start
                                  ? philox(seed, Stream::kWordReplace, row, static_cast<uint32_t>(start)).word[0]
                                  : w.word[0];
        out = p.replacement(kind, w.word[1], id);
        label = id;
        p.masked[slot + rank++] = at;
      }
      p.masked_ids[at] = out;
      p.labels[at] = label;
    }
    slot += found;
    __syncthreads();  // the scans' storage is used again
  }
  fill_unused<kThreads>(p.masked, slots.total, r, p.length);
}

template <typename Id>
cudaError_t run(const WholeWordMask<Id>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (p.budgets) {
    take_words<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
    mask_rows<true><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  } else {
    count_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
    mask_rows<false><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t whole_word_mask(const WholeWordMask<int16_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t whole_word_mask(const WholeWordMask<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t whole_word_mask(const WholeWordMask<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
