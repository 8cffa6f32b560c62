// fairseq's masked spans, one block per row, no host synchronisation. All threads draw lengths; in a second launch, for
// the two together need more registers than there are, one thread decides where the spans go (by Floyd's algorithm over
// the row of cells, or by cutting up the parts that are left) and all threads write them: neighbours write the same
// byte, so the order does not matter. Bytes: one written a frame, and the scratch of lengths and starts. Equal counts
// need those of all rows: a third launch, in which one thread of a warp walks a row.
#include <cub/block/block_reduce.cuh>

#include "shared/fairseq_span_rules.h"
#include "sslfast/fairseq_span_mask.h"

namespace sslfast::cuda {
namespace {

using namespace fairseq_span;

constexpr int kThreads = 128;
constexpr int kWarp = 32;

// One thread: returns how many spans got a start.
__device__ int64_t draw_starts(const FairseqSpanMask& p, uint64_t seed, uint64_t row_id, const RowSpans& row,
                               uint8_t* cells) {
  if (p.apart) {
    if (p.span_length != SpanLength::kStatic) sort_descending(row.lengths, row.spans);
    return place_apart(p, seed, row_id, row);
  }
  const int64_t starts = possible_starts(p, row);
  Words words{};
  for (int64_t i = 0; i < row.spans; ++i) {
    if (i % 4 == 0) words = philox(seed, Stream::kTimeSpanStart, row_id, static_cast<uint32_t>(i / 4));
    row.starts[i] = time_span::pick_start(starts, row.spans, cells, words.word[0], i);
    for (int k = 0; k < 3; ++k) words.word[k] = words.word[k + 1];  // an index would go through memory
  }
  return row.spans;
}

// Leaves the number of spans where the row's count will be, and the shortest length behind the last that has a place.
__global__ void __launch_bounds__(kThreads) draw_lengths(FairseqSpanMask p, int64_t capacity, int64_t numbers) {
  using Reduce = cub::BlockReduce<int64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get(), row_id = p.row_ids[r];
  RowSpans row = row_spans(p, p.scratch + r * numbers, capacity, time_span::row_frames(p.lengths, p.length, r));
  row.spans = drawn_spans(p, seed, r, row.frames);
  const LengthLaw law = length_law(p);
  int64_t shortest = p.length, longest = 0;
  for (int64_t base = 4 * threadIdx.x; base < row.spans; base += 4 * kThreads) {
    Words words = philox(seed, Stream::kTimeSpanLength, row_id, static_cast<uint32_t>(base / 4));
#pragma unroll 1  // four laws side by side would spill registers
    for (int k = 0; k < 4 && base + k < row.spans; ++k) {
      const int64_t length = draw_length(law, words.word[0]);
      for (int i = 0; i < 3; ++i) words.word[i] = words.word[i + 1];  // an index would go through memory
      row.lengths[base + k] = length;
      shortest = length < shortest ? length : shortest;
      longest = length > longest ? length : longest;
    }
  }
  const bool nothing = !__syncthreads_or(longest > 0);
  shortest = -Reduce(storage).Reduce(-shortest, [](int64_t a, int64_t b) { return a > b ? a : b; });
  if (threadIdx.x != 0) return;
  if (p.span_length != SpanLength::kStatic) {
    row.shortest = shortest;
    if (nothing) fall_back(p, row);
  }
  p.counts[r] = row.spans;
  row.lengths[capacity] = row.shortest;
}

__global__ void __launch_bounds__(kThreads) mask_rows(FairseqSpanMask p, int64_t capacity, int64_t numbers) {
  using Reduce = cub::BlockReduce<int64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ int64_t placed;
  const int64_t r = blockIdx.x;
  uint8_t* cells = reinterpret_cast<uint8_t*>(p.mask + r * p.length);
  RowSpans row = row_spans(p, p.scratch + r * numbers, capacity, time_span::row_frames(p.lengths, p.length, r));
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) cells[t] = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    row.spans = p.counts[r];
    row.shortest = row.lengths[capacity];
    placed = draw_starts(p, p.seed.get(), p.row_ids[r], row, cells);
  }
  __syncthreads();
  if (!p.apart) {
    for (int64_t i = threadIdx.x; i < placed; i += kThreads) cells[row.starts[i]] = 0;
    __syncthreads();
  }
  for (int64_t i = threadIdx.x; i < placed; i += kThreads) {
    const int64_t end = min(row.starts[i] + row.lengths[i], row.frames);
    for (int64_t t = row.starts[i]; t < end; ++t) cells[t] = time_span::kMasked;
  }
  __syncthreads();
  int64_t count = 0;
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) count += cells[t];
  count = Reduce(storage).Sum(count);
  if (threadIdx.x == 0) p.counts[r] = count;
}

__global__ void __launch_bounds__(kWarp) settle_rows(FairseqSpanMask p) {
  const int64_t r = blockIdx.x;
  const bool most = p.same_count == SameCount::kMost;
  int64_t target = p.counts[r];
  for (int64_t i = threadIdx.x; i < p.rows; i += kWarp) {
    target = most ? max(target, p.counts[i]) : min(target, p.counts[i]);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const int64_t other = __shfl_xor_sync(0xFFFFFFFFu, target, step);
    target = most ? max(target, other) : min(target, other);
  }
  if (threadIdx.x == 0) settle_row(p, p.seed.get(), r, target, reinterpret_cast<uint8_t*>(p.mask) + r * p.length);
}

}  // namespace

cudaError_t fairseq_span_mask(const FairseqSpanMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const unsigned blocks = static_cast<unsigned>(p.rows);
  draw_lengths<<<blocks, kThreads, 0, stream>>>(p, span_capacity(p), scratch_numbers(p));
  mask_rows<<<blocks, kThreads, 0, stream>>>(p, span_capacity(p), scratch_numbers(p));
  if (p.same_count != SameCount::kNo || p.mask_dropout > 0) settle_rows<<<blocks, kWarp, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
