// Noise of features, one launch, one thread for the four cells of a counter. Nothing is stored but the result: the
// backward is the identity. Bytes: a cell read and written.
#include "../shared/noise_value.h"
#include "packs.cuh"
#include "sslfast/feature_noise.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;

template <typename Element>
__global__ void __launch_bounds__(kThreads) add_noise(FeatureNoise p, int64_t counters) {
  using Float = Wide<Element>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t r = i / counters;
  if (r >= p.rows) return;
  const auto counter = static_cast<uint32_t>(i - r * counters);
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  const Words w = philox(seed, Stream::kFeatureNoise, row, counter);
  const bool some = p.threshold < uint64_t{1} << 32;
  Words choice{};
  if (some) choice = philox(seed, Stream::kNoiseSelect, row, counter);
  const auto* factors = static_cast<const Float*>(p.factors);
  float values[4];
  if (p.gaussian) {
    for (int k = 0; k < 4; k += 2) {
      const noise::Pair pair = noise::normal_pair(w.word[k], w.word[k + 1]);
      values[k] = pair.first;
      values[k + 1] = pair.second;
    }
  } else {
    for (int k = 0; k < 4; ++k) values[k] = noise::uniform(w.word[k]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int64_t j = 4 * static_cast<int64_t>(counter) + k;
    if (j >= p.features) break;
    const Element here = static_cast<const Element*>(p.x)[r * p.row_stride + j * p.stride];
    const auto scale = static_cast<Float>(p.scale);
    const Float width = factors ? noise::mul(scale, factors[j]) : scale;
    const auto value = static_cast<Float>(values[k]);
    const auto there = static_cast<Element>(noise::add(static_cast<Float>(here), noise::mul(width, value)));
    static_cast<Element*>(p.out)[r * p.features + j] = !some || choice.word[k] < p.threshold ? there : here;
  }
}

}  // namespace

cudaError_t feature_noise(const FeatureNoise& p, cudaStream_t stream) {
  if (p.rows == 0 || p.features == 0) return cudaSuccess;
  const int64_t counters = (p.features + 3) / 4, blocks = (p.rows * counters + kThreads - 1) / kThreads;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  by_dtype(p.dtype, [&](auto element) {
    add_noise<decltype(element)><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p, counters);
  });
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
