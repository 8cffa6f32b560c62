// Row by row: the words of both streams are drawn in loops that vectorise, then one walk selects and one moves.
#include "sslfast/feature_corruption.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "isa.h"
#include "shared/feature_selection.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kCellsPerThread = 16 << 10;

SSLFAST_ISA_CLONES void draw_words(uint64_t seed, Stream stream, uint64_t row, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

SSLFAST_ISA_CLONES void below(uint32_t* words, int64_t n, uint64_t bound) {
  for (int64_t i = 0; i < n; ++i) words[i] = uniform_below(words[i], bound);
}

// One thread's working space.
struct Scratch {
  std::vector<uint32_t> select, source;

  explicit Scratch(int64_t features) : select((features + 3) / 4 * 4), source((features + 3) / 4 * 4) {}
};

void draw_row(const FeatureDraws& p, uint64_t seed, int64_t r, Scratch& s) {
  const uint64_t row = p.row_ids[r];
  const int64_t counters = (p.features + 3) / 4;
  bool* mask = p.mask + r * p.features;
  draw_words(seed, Stream::kFeatureSelect, row, counters, s.select.data());
  features::Selection selection(p);
  for (int64_t j = 0; j < p.features; ++j) mask[j] = selection.next(s.select[j]);
  if (p.given) {
    for (int64_t j = 0; j < p.features; ++j) s.source[j] = static_cast<uint32_t>(p.given[j * p.rows + r]);
  } else if (p.source == FeatureSource::kRows) {
    draw_words(seed, Stream::kFeatureSource, row, 1, s.source.data());
    std::fill(s.source.begin(), s.source.end(), uniform_below(s.source[0], p.bank_rows));
  } else {
    draw_words(seed, Stream::kFeatureSource, row, counters, s.source.data());
    below(s.source.data(), p.features, p.bank_rows);
  }
  if (p.sources) std::copy_n(s.source.begin(), p.features, p.sources + r * p.features);
}

// Whether a cell is masked cannot be predicted: the address is chosen, not the way.
template <typename Element>
void move_row(const FeatureCorruption& p, int64_t r, const Scratch& s) {
  const int64_t features = p.draws.features;
  const bool* mask = p.draws.mask + r * features;
  const auto* x = static_cast<const Element*>(p.x) + r * p.x_row_stride;
  const auto* bank = static_cast<const Element*>(p.bank);
  auto* out = static_cast<Element*>(p.out) + r * features;
  for (int64_t j = 0; j < features; ++j) {
    const Element* there = bank + static_cast<int64_t>(s.source[j]) * p.bank_row_stride + j * p.bank_stride;
    const Element* here = x + j * p.x_stride;
    out[j] = *(mask[j] ? there : here);
  }
}

template <typename Row>
void for_rows(const FeatureDraws& p, int threads, Row row) {
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.features / kCellsPerThread, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Scratch scratch(p.features);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) row(r, scratch);
  }
}

template <typename Element>
void run(const FeatureCorruption& p, int threads) {
  const uint64_t seed = p.draws.seed.get();
  for_rows(p.draws, threads, [&](int64_t r, Scratch& s) {
    draw_row(p.draws, seed, r, s);
    move_row<Element>(p, r, s);
  });
}

constexpr int64_t kChunk = 1024;  // steps; 4 KiB of draws stay in L1

SSLFAST_ISA_CLONES void step_words(uint64_t seed, uint32_t stream, uint64_t column, int64_t first, int64_t counters,
                                   uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, column, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

void permute_column(const ColumnPermutations& p, uint64_t seed, int64_t column) {
  int32_t* out = p.out + column * p.rows;
  std::iota(out, out + p.rows, 0);
  uint32_t words[kChunk];
  for (int64_t first = 0; first < p.rows - 1; first += kChunk) {
    const int64_t n = std::min(kChunk, p.rows - 1 - first);
    step_words(seed, p.stream, static_cast<uint64_t>(column), first, (n + 3) / 4, words);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t last = p.rows - 1 - first - k;
      std::swap(out[last], out[uniform_below(words[k], static_cast<uint64_t>(last) + 1)]);
    }
  }
}

}  // namespace

void column_permutations(const ColumnPermutations& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.columns / kCellsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t column = 0; column < p.columns; ++column) permute_column(p, seed, column);
}

void feature_draws(const FeatureDraws& p, int threads) {
  const uint64_t seed = p.seed.get();
  for_rows(p, threads, [&](int64_t r, Scratch& s) { draw_row(p, seed, r, s); });
}

void feature_corruption(const FeatureCorruption& p, int threads) {
  switch (p.element_size) {
    case 1:
      return run<uint8_t>(p, threads);
    case 2:
      return run<uint16_t>(p, threads);
    case 4:
      return run<uint32_t>(p, threads);
    default:
      return run<uint64_t>(p, threads);
  }
}

}  // namespace sslfast::cpu
