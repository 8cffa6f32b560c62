// BERT token masking, one block per row, two launches, no host synchronisation.
// Launch 1 counts the masked tokens of each row (recomputing the draws costs less than storing them). It also
// finds the token that a row without one gets, where that is wanted. Launch 2 adds
// the counts of the rows before its own, then writes ids, labels and the packed positions: a row's slots in `masked`
// are known, so nothing is atomic and the order is that of the CPU. Bytes: 16 read, 24 written per int64 token.
#include <cub/block/block_scan.cuh>

#include "row_slots.cuh"
#include "sslfast/token_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 4;  // per thread and step: the four words of one Philox counter

template <typename Id>
__device__ bool ordinary(const TokenMask<Id>& p, int64_t r, int64_t t) {
  return t < p.length && !(p.special && p.special[r * p.special_row_stride + t * p.special_stride]);
}

template <typename Id>
__device__ unsigned select(const TokenMask<Id>& p, uint64_t seed, int64_t r, int64_t first, int64_t forced) {
  const Words w = philox(seed, Stream::kTokenSelect, p.row_ids[r], static_cast<uint32_t>(first / kTokens));
  unsigned hits = 0;
  for (int k = 0; k < kTokens; ++k) {
    const int64_t t = first + k;
    const bool hit = (w.word[k] < p.select_threshold || t == forced) && ordinary(p, r, t);
    hits |= static_cast<unsigned>(hit) << k;
  }
  return hits;
}

// The ordinary token of the row with the least select word, or -1; right in thread 0 alone.
template <typename Id>
__device__ int64_t least_token(const TokenMask<Id>& p, uint64_t seed, int64_t r) {
  using Reduce = cub::BlockReduce<uint64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  uint64_t least = UINT64_MAX;  // select word, then token: the first of equals
  for (int64_t first = threadIdx.x * kTokens; first < p.length; first += kThreads * kTokens) {
    const Words w = philox(seed, Stream::kTokenSelect, p.row_ids[r], static_cast<uint32_t>(first / kTokens));
    for (int k = 0; k < kTokens; ++k) {
      const uint64_t key = static_cast<uint64_t>(w.word[k]) << 32 | static_cast<uint64_t>(first + k);
      if (key < least && ordinary(p, r, first + k)) least = key;
    }
  }
  least = Reduce(storage).Reduce(least, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
  return least == UINT64_MAX ? -1 : static_cast<int64_t>(least & 0xFFFFFFFFu);
}

template <typename Id>
__global__ void __launch_bounds__(kThreads) count_rows(TokenMask<Id> p) {
  using Reduce = cub::BlockReduce<int, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ bool none;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  int count = 0;
  for (int64_t first = threadIdx.x * kTokens; first < p.length; first += kThreads * kTokens) {
    count += __popc(select(p, seed, r, first, -1));
  }
  count = Reduce(storage).Sum(count);
  int64_t forced = -1;
  if (p.forced) {
    if (threadIdx.x == 0) none = count == 0;
    __syncthreads();
    if (none) forced = least_token(p, seed, r);
    if (threadIdx.x == 0) p.forced[r] = forced;
  }
  if (threadIdx.x == 0) p.counts[r] = count + (forced >= 0);
}

template <typename Id>
__global__ void __launch_bounds__(kThreads) mask_rows(TokenMask<Id> p) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t r = blockIdx.x;
  const uint64_t row = p.row_ids[r];
  const uint64_t seed = p.seed.get();
  const RowSlots slots = row_slots<kThreads>(p.counts, p.rows, r);
  const int64_t forced = p.forced ? p.forced[r] : -1;
  int64_t slot = slots.first;

  // All threads take every step, because the scan is a block-wide barrier.
  for (int64_t base = 0; base < p.length; base += kThreads * kTokens) {
    const int64_t first = base + threadIdx.x * kTokens;
    const unsigned hits = first < p.length ? select(p, seed, r, first, forced) : 0u;
    int rank, found;
    Scan(storage).ExclusiveSum(__popc(hits), rank, found);
    for (int k = 0; k < kTokens && first + k < p.length; ++k) {
      const int64_t t = first + k, at = r * p.length + t;
      const Id id = p.ids[r * p.ids_row_stride + t * p.ids_stride];
      Id out = id, label = p.ignore_index;
      if (hits >> k & 1u) {
        const Words w = philox(seed, Stream::kTokenReplace, row, static_cast<uint32_t>(t));
        out = p.replacement(w.word[0], w.word[1], id);
        label = id;
        p.masked[slot + rank++] = at;
      }
      p.masked_ids[at] = out;
      p.labels[at] = label;
    }
    slot += found;
    __syncthreads();  // the scan's storage is used again
  }
  fill_unused<kThreads>(p.masked, slots.total, r, p.length);
}

template <typename Id>
cudaError_t run(const TokenMask<Id>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  count_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  mask_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t token_mask(const TokenMask<int16_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t token_mask(const TokenMask<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t token_mask(const TokenMask<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
