// Row by row: the noise is made in loops that vectorise, then added in the type of the elements.
#include "sslfast/feature_noise.h"

#include <algorithm>

#include "../shared/noise_value.h"
#include "element_types.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kCellsPerThread = 16 << 10;
constexpr int64_t kChunk = 1024;  // cells whose noise is made at once
constexpr int64_t kLanes = 16;    // noise is made for whole vectors: a rest, cell by cell, would cost as much

SSLFAST_ISA_CLONES void make_words(uint64_t seed, Stream stream, uint64_t row, int64_t first, int64_t counters,
                                   uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

// Neighbouring cells of a row. The noise is made first, then added without a branch: both loops vectorise.
template <typename Element>
struct Cells {
  const Element* x;
  int64_t stride, n;
  const Wide<Element>* factors;  // or null
  Wide<Element> scale;
  bool gaussian;
  const uint32_t *words, *choice;  // choice: or null
  uint32_t threshold;
  float* noise;
  Element* out;
};

template <bool kNeighbours, bool kFactors, bool kSome, typename Element>
inline __attribute__((always_inline)) void add_noise(const Cells<Element>& c) {
  const Element* x = c.x;
  const uint32_t* choice = c.choice;
  Element* out = c.out;
  for (int64_t i = 0; i < c.n; ++i) {
    const Element here = x[kNeighbours ? i : i * c.stride];
    const Wide<Element> width = kFactors ? noise::mul(c.scale, c.factors[i]) : c.scale;
    Element there;
    narrow(noise::add(widen(here), noise::mul(width, static_cast<Wide<Element>>(c.noise[i]))), there);
    out[i] = !kSome || choice[i] < c.threshold ? there : here;
  }
}

template <bool kFactors, bool kSome, typename Element>
inline __attribute__((always_inline)) void add_noise(const Cells<Element>& c) {
  c.stride == 1 ? add_noise<true, kFactors, kSome>(c) : add_noise<false, kFactors, kSome>(c);
}

template <typename Element>
inline __attribute__((always_inline)) void add_body(const Cells<Element>& c) {
  const int64_t vectors = (c.n + kLanes - 1) / kLanes;
  if (c.gaussian) {
    for (int64_t i = 0; i < vectors * (kLanes / 2); ++i) {
      const noise::Pair pair = noise::normal_pair(c.words[2 * i], c.words[2 * i + 1]);
      c.noise[2 * i] = pair.first;
      c.noise[2 * i + 1] = pair.second;
    }
  } else {
    for (int64_t i = 0; i < vectors * kLanes; ++i) c.noise[i] = noise::uniform(c.words[i]);
  }
  if (c.factors) {
    c.choice ? add_noise<true, true>(c) : add_noise<true, false>(c);
  } else {
    c.choice ? add_noise<false, true>(c) : add_noise<false, false>(c);
  }
}

SSLFAST_ISA_CLONES void add_cells(const Cells<float>& c) { add_body(c); }
SSLFAST_ISA_CLONES void add_cells(const Cells<double>& c) { add_body(c); }
SSLFAST_ISA_CLONES void add_cells(const Cells<Brain16>& c) { add_body(c); }
SSLFAST_ISA_CLONES void add_cells(const Cells<Half16>& c) { add_body(c); }

template <typename Element>
void add_row(const FeatureNoise& p, uint64_t seed, int64_t r) {
  const uint64_t row = p.row_ids[r];
  const auto* x = static_cast<const Element*>(p.x) + r * p.row_stride;
  const auto* factors = static_cast<const Wide<Element>*>(p.factors);
  auto* out = static_cast<Element*>(p.out) + r * p.features;
  const bool some = p.threshold < uint64_t{1} << 32;
  uint32_t words[kChunk], choice[kChunk];
  float noise[kChunk];
  for (int64_t first = 0; first < p.features; first += kChunk) {
    const int64_t n = std::min(kChunk, p.features - first), counters = (n + kLanes - 1) / kLanes * (kLanes / 4);
    make_words(seed, Stream::kFeatureNoise, row, first, counters, words);
    if (some) make_words(seed, Stream::kNoiseSelect, row, first, counters, choice);
    Cells<Element> c{};
    c.x = x + first * p.stride;
    c.stride = p.stride;
    c.n = n;
    c.factors = factors ? factors + first : nullptr;
    c.scale = static_cast<Wide<Element>>(p.scale);
    c.gaussian = p.gaussian;
    c.words = words;
    c.choice = some ? choice : nullptr;
    c.threshold = static_cast<uint32_t>(p.threshold);
    c.noise = noise;
    c.out = out + first;
    add_cells(c);
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
