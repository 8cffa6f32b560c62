// SpanBERT's masking, one block per row, one launch, no host synchronisation, nothing atomic.
// All threads note what may be masked, a byte a token in shared memory (in the mask itself where a row is longer), one
// warp draws the spans, about one in 25 tokens, and all threads write. Bytes: what is given read once, ids, labels and
// mask written once. Why one warp: whether a start counts depends on what earlier spans masked, and the last span is
// cut where the row's budget ends. But 32 tries are drawn, and 32 tokens of a span marked, at once.
#include <cub/block/block_reduce.cuh>

#include "../shared/text_span_lanes.h"
#include "sslfast/text_span_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kShared = 32 << 10;  // tokens whose state fits

struct Warp {
  int lane;

  template <typename Condition>
  __device__ uint32_t vote(Condition condition) const {
    return __ballot_sync(0xFFFFFFFFu, condition(lane));
  }

  template <typename Action>
  __device__ void each(Action action) const {
    __syncwarp();  // what is overwritten has been read by all
    action(lane);
    __syncwarp();
  }
};

template <typename Id>
__global__ void __launch_bounds__(kThreads) mask_rows(TextSpanMask<Id> p) {
  using namespace text_spans;
  using Reduce = cub::BlockReduce<int64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ Try tries[kLanes];
  __shared__ int64_t shared_maskable, shared_low, shared_high;
  extern __shared__ uint8_t shared_state[];
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  uint8_t* state = p.length <= kShared ? shared_state : reinterpret_cast<uint8_t*>(p.mask + r * p.length);
  int64_t behind = 0, high = 0, maskable = 0;  // behind: tokens from the first that may be masked to the row's end
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) {
    state[t] = token_state(p, r, t);
    if (!state[t]) continue;
    ++maskable;
    behind = max(behind, p.length - t);
    high = t + 1;
  }
  maskable = Reduce(storage).Sum(maskable);
  __syncthreads();  // the reduction's storage is used again
  behind = Reduce(storage).Reduce(behind, [](int64_t a, int64_t b) { return a > b ? a : b; });
  __syncthreads();
  high = Reduce(storage).Reduce(high, [](int64_t a, int64_t b) { return a > b ? a : b; });
  __syncthreads();
  if (threadIdx.x == 0) {  // a reduction's result is this thread's alone
    shared_maskable = maskable;
    shared_low = p.length - behind;
    shared_high = high;
  }
  __syncthreads();
  if (threadIdx.x < kLanes && shared_maskable > 0) {
    const int64_t tokens = budget(shared_maskable, p.mask_ratio);
    const Warp warp{static_cast<int>(threadIdx.x)};
    choose_together(state, shared_low, shared_high, tokens, p.lengths, seed, row, tries, warp);
  }
  __syncthreads();
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) {
    const int64_t at = r * p.length + t;
    const Id id = p.ids[r * p.ids_row_stride + t * p.ids_stride];
    const bool masked = state[t] & kMasked;
    Id out = id;
    if (masked) {
      int64_t key = t;
      while (p.per_span && key > 0 && (state[key - 1] & kMasked)) --key;
      out = replacement(p, seed, row, key, t, id);
    }
    p.masked_ids[at] = out;
    p.labels[at] = masked ? id : p.ignore_index;
  }
  __syncthreads();  // the state of a long row is the mask
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) p.mask[r * p.length + t] = state[t] & kMasked;
}

template <typename Id>
cudaError_t run(const TextSpanMask<Id>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.length == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const size_t bytes = p.length <= kShared ? static_cast<size_t>(p.length) : 0;
  mask_rows<<<static_cast<unsigned>(p.rows), kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t text_span_mask(const TextSpanMask<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t text_span_mask(const TextSpanMask<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
