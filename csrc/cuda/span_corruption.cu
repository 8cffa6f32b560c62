// T5 span corruption, one block per row, one launch, no host synchronisation, nothing atomic.
// All threads make the draws of a chunk of tokens, one warp walks over them, noting where every token goes, and all
// threads move the tokens. Neither the noise mask nor a sorted list of boundaries exists. Bytes: the ids read once,
// both outputs written once. Why one warp: a boundary's chance is boundaries wanted over boundaries left, so it needs
// the outcome of all before it. But between two boundaries the chances are known, so 32 lanes look for the next one at
// once: about two steps a span and one for 32 tokens, in place of one a token, with the CPU's bits.
#include "../shared/span_corruption_walk.h"
#include "sslfast/span_corruption.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanes = 32;    // of a warp
constexpr int kChunk = 1024;  // tokens: 12 KiB of shared memory

template <typename Id>
__device__ void put(Id* slots, int64_t size, int64_t at, Id id) {
  if (at < size) slots[at] = id;
}

template <typename Id>
__global__ void __launch_bounds__(kThreads) corrupt_rows(SpanCorruption<Id> p) {
  __shared__ uint32_t words[kChunk];
  __shared__ uint32_t spans_before[kChunk];  // spans begun up to and with a token; two low bits: begins one, is noise
  __shared__ int64_t kept_before, noise_before, begun_before;  // before the chunk
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  int64_t length = p.lengths ? p.lengths[r] : p.length;
  length = length < 0 ? 0 : length > p.length ? p.length : length;
  const Id* ids = p.ids + r * p.ids_row_stride;
  Id* inputs = p.inputs + r * p.input_length;
  Id* targets = p.targets + r * p.target_length;
  __shared__ uint32_t noise_so_far[kChunk];  // noise of the chunk before a token
  const spans::Counts counts = spans::counts(length, p.noise_density, p.mean_span, p.anywhere);
  spans::Walk walk(length, counts, p.anywhere);
  int64_t kept = 0, noise = 0, begun = 0;  // the first warp's

  for (int64_t first = 0; first < length; first += kChunk) {
    const int n = static_cast<int>(min(static_cast<int64_t>(kChunk), length - first));
    for (int i = threadIdx.x * 4; i < n; i += kThreads * 4) {
      const Words w = philox(seed, Stream::kSpanCorruption, row, static_cast<uint32_t>((first + i) / 4));
      for (int k = 0; k < 4; ++k) words[i + k] = w.word[k];
    }
    __syncthreads();
    if (threadIdx.x < kLanes) {
      const int lane = static_cast<int>(threadIdx.x);
      if (lane == 0) {
        kept_before = kept;
        noise_before = noise;
        begun_before = begun;
      }
      uint32_t chunk_begun = 0, chunk_noise = 0;
      const auto first_lane = [&](auto condition) {
        const unsigned all = __ballot_sync(0xFFFFFFFFu, condition(lane));
        return all ? __ffs(static_cast<int>(all)) - 1 : kLanes;
      };
      spans::walk_runs(walk, words, n, kLanes, first_lane, [&](int begin, int end, bool begins) {
        chunk_begun += begins;
        const uint32_t code = static_cast<uint32_t>(begins) << 1 | static_cast<uint32_t>(walk.in_noise);
        if (begin + lane < end) {
          noise_so_far[begin + lane] = chunk_noise + (walk.in_noise ? lane : 0);
          spans_before[begin + lane] = chunk_begun << 2 | code;
        }
        chunk_noise += walk.in_noise ? end - begin : 0;
      });
      begun += chunk_begun;
      noise += chunk_noise;
      kept += n - chunk_noise;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kThreads) {
      const uint32_t code = spans_before[i];
      const int64_t spans = begun_before + (code >> 2);
      const int64_t noise_at = noise_before + noise_so_far[i], kept_at = kept_before + i - noise_so_far[i];
      const Id id = ids[(first + i) * p.ids_stride];
      if (code & 2u) {
        const Id sentinel = static_cast<Id>(p.sentinel + (spans - 1) * p.sentinel_step);
        put(inputs, p.input_length, kept_at + spans - 1, sentinel);
        put(targets, p.target_length, noise_at + spans - 1, sentinel);
      }
      if (code & 1u) {
        put(targets, p.target_length, noise_at + spans, id);
      } else {
        put(inputs, p.input_length, kept_at + spans, id);
      }
    }
    __syncthreads();  // the shared arrays are used again
  }
  int64_t input_end = length - counts.noise + counts.spans, target_end = counts.noise + counts.spans;
  if (threadIdx.x == 0 && p.append_eos) {
    put(inputs, p.input_length, input_end, p.eos);
    put(targets, p.target_length, target_end, p.eos);
  }
  input_end += p.append_eos;
  target_end += p.append_eos;
  if (threadIdx.x == 0) p.input_lengths[r] = input_end;
  for (int64_t i = input_end + threadIdx.x; i < p.input_length; i += kThreads) inputs[i] = p.pad;
  for (int64_t i = target_end + threadIdx.x; i < p.target_length; i += kThreads) targets[i] = p.ignore_index;
}

template <typename Id>
cudaError_t run(const SpanCorruption<Id>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  corrupt_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t span_corruption(const SpanCorruption<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t span_corruption(const SpanCorruption<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
