// Row by row: the noise is made in loops that vectorise, then added in the type of the elements.
#include "sslfast/feature_noise.h"

#include <algorithm>
#include <vector>

#include "../shared/noise_value.h"
#include "element_types.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kCellsPerThread = 16 << 10;
constexpr int64_t kChunk = 1024;  // cells whose noise is made at once

SSLFAST_ISA_CLONES void make_words(uint64_t seed, Stream stream, uint64_t row, int64_t first, int64_t counters,
                                   uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

SSLFAST_ISA_CLONES void normals(const uint32_t* words, int64_t n, float* noise) {
  for (int64_t i = 0; i < n; ++i) noise[i] = noise::normal(words[i]);
}

SSLFAST_ISA_CLONES void uniforms(const uint32_t* words, int64_t n, float* noise) {
  for (int64_t i = 0; i < n; ++i) noise[i] = noise::uniform(words[i]);
}

template <typename Element>
void add_row(const FeatureNoise& p, uint64_t seed, int64_t r) {
  using Float = Wide<Element>;
  const uint64_t row = p.row_ids[r];
  const auto* x = static_cast<const Element*>(p.x) + r * p.row_stride;
  const auto* factors = static_cast<const Float*>(p.factors);
  auto* out = static_cast<Element*>(p.out) + r * p.features;
  const auto scale = static_cast<Float>(p.scale);
  const bool some = p.threshold < uint64_t{1} << 32;
  uint32_t words[kChunk], choice[kChunk];
  float noise[kChunk];
  for (int64_t first = 0; first < p.features; first += kChunk) {
    const int64_t n = std::min(kChunk, p.features - first), counters = (n + 3) / 4;
    make_words(seed, Stream::kFeatureNoise, row, first, counters, words);
    if (some) make_words(seed, Stream::kNoiseSelect, row, first, counters, choice);
    (p.gaussian ? normals : uniforms)(words, n, noise);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = first + i;
      const Element here = x[j * p.stride];
      const Float width = factors ? noise::mul(scale, factors[j]) : scale;
      Element there;
      narrow(noise::add(widen(here), noise::mul(width, static_cast<Float>(noise[i]))), there);
      out[j] = !some || choice[i] < p.threshold ? there : here;
    }
  }
}

}  // namespace

void feature_noise(const FeatureNoise& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.features / kCellsPerThread, 1, threads));
  by_dtype(p.dtype, [&](auto element) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < p.rows; ++r) add_row<decltype(element)>(p, seed, r);
  });
}

}  // namespace sslfast::cpu
