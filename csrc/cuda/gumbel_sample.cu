// Sampling from logits by Gumbel noise, one block per row, one launch, no host synchronisation, nothing atomic.
// A thread takes four ids a step, the words of one Philox counter. An id is scored in double precision only if a bound
// without a logarithm reaches the best score of its warp, about a dozen times a row. Neither noise nor probabilities
// exist in memory. Bytes: each logit read once.
#include <cub/block/block_reduce.cuh>

#include "../shared/gumbel_score.h"
#include "element_types.cuh"
#include "sslfast/gumbel_sample.h"

namespace sslfast::cuda {
namespace {

using gumbel::Best;

constexpr int kThreads = 256;
constexpr int kIds = 4;
constexpr unsigned kFull = 0xFFFFFFFFu;

struct Better {
  __device__ Best operator()(const Best& a, const Best& b) const {
    if (b.id < 0) return a;
    return a.worse_than(b.score, b.id) ? b : a;
  }
};

template <typename In>
__global__ void __launch_bounds__(kThreads) sample_rows(GumbelSample<In> p) {
  using Reduce = cub::BlockReduce<Best, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  const int64_t r = blockIdx.x;
  if (p.positions && p.positions[r] < 0) {  // the whole block
    if (threadIdx.x == 0) p.ids[r] = -1;
    return;
  }
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  const In* logits = p.logits + r * p.row_stride;
  const float inverse_temperature = static_cast<float>(p.inverse_temperature);
  Best best{0.0, -1};
  float bar = -gumbel::kInfinity;
  bool bad = false;
  for (int64_t base = 0; base < p.vocabulary; base += kThreads * kIds) {  // all threads take every step
    const int64_t first = base + threadIdx.x * kIds;
    const Words w = philox(seed, Stream::kGumbel, row, static_cast<uint32_t>(first / kIds));
    float x[kIds];
    bool any = false;
#pragma unroll
    for (int k = 0; k < kIds; ++k) {
      x[k] = first + k < p.vocabulary ? widen(logits[(first + k) * p.stride]) : -gumbel::kInfinity;
      bad |= !(x[k] < gumbel::kInfinity);
      any |= gumbel::may_win(x[k], w.word[k], inverse_temperature, bar);
    }
    if (!__any_sync(kFull, any)) continue;
#pragma unroll
    for (int k = 0; k < kIds; ++k) {
      if (!gumbel::may_win(x[k], w.word[k], inverse_temperature, bar)) continue;
      const double score = gumbel::score(x[k], w.word[k], p.inverse_temperature);
      if (best.worse_than(score, first + k)) best = {score, first + k};
    }
    bar = best.id < 0 ? -gumbel::kInfinity : gumbel::bar(best.score);
    for (int lane = 16; lane > 0; lane /= 2) bar = fmaxf(bar, __shfl_xor_sync(kFull, bar, lane));
  }
  const bool none = __syncthreads_or(bad);
  best = Reduce(storage).Reduce(best, Better());
  if (threadIdx.x == 0) p.ids[r] = none ? -1 : best.id;
}

template <typename In>
cudaError_t run(const GumbelSample<In>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  sample_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t gumbel_sample(const GumbelSample<float>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t gumbel_sample(const GumbelSample<Brain16>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t gumbel_sample(const GumbelSample<Half16>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
