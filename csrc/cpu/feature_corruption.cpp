// Row by row: the words of both streams are drawn in loops that vectorise, then one walk selects and one moves; before
// that, where it is asked for, the least and greatest values of all columns. Permutations: all rows are selected first,
// then moved some columns at a time, so that the values of these, which are read in a random order, stay in the cache.
#include "sslfast/feature_corruption.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "element_types.h"
#include "isa.h"
#include "random_order.h"
#include "shared/feature_selection.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kCellsPerThread = 16 << 10;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

SSLFAST_ISA_CLONES void draw_words(uint64_t seed, Stream stream, uint64_t row, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

SSLFAST_ISA_CLONES void below(uint32_t* words, int64_t n, uint64_t bound) {
  for (int64_t i = 0; i < n; ++i) words[i] = uniform_below(words[i], bound);
}

SSLFAST_ISA_CLONES void select_below(const uint32_t* words, int64_t n, uint64_t threshold, bool* mask) {
  for (int64_t i = 0; i < n; ++i) mask[i] = words[i] < threshold;
}

int team(int64_t cells, int threads) {
  return static_cast<int>(std::clamp<int64_t>(cells / kCellsPerThread, 1, threads));
}

// The least and the greatest value of every column, NaN where it has one.
struct Ranges {
  std::vector<double> low, high;

  explicit Ranges(int64_t features) : low(features, kInfinity), high(features, -kInfinity) {}
};

SSLFAST_ISA_CLONES void widen_range(const double* lows, const double* highs, int64_t n, double* low, double* high) {
  for (int64_t j = 0; j < n; ++j) {
    low[j] = lows[j] < low[j] || lows[j] != lows[j] ? lows[j] : low[j];
    high[j] = highs[j] > high[j] || highs[j] != highs[j] ? highs[j] : high[j];
  }
}

template <typename Element>
Ranges column_ranges(const FeatureCorruption& p, int threads) {
  threads = team(p.bank_rows * p.features, threads);
  std::vector<Ranges> parts(threads, Ranges(p.features));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int t = 0; t < threads; ++t) {
    std::vector<double> row(p.features);
    for (int64_t r = p.bank_rows * t / threads; r < p.bank_rows * (t + 1) / threads; ++r) {
      const Element* from = static_cast<const Element*>(p.bank) + r * p.bank_row_stride;
      for (int64_t j = 0; j < p.features; ++j) row[j] = widen(from[j * p.bank_stride]);
      widen_range(row.data(), row.data(), p.features, parts[t].low.data(), parts[t].high.data());
    }
  }
  for (int t = 1; t < threads; ++t) {
    widen_range(parts[t].low.data(), parts[t].high.data(), p.features, parts[0].low.data(), parts[0].high.data());
  }
  return std::move(parts[0]);
}

// One thread's working space.
struct Scratch {
  std::vector<uint32_t> select, source;

  explicit Scratch(int64_t features) : select((features + 3) / 4 * 4), source((features + 3) / 4 * 4) {}
};

void select_row(const FeatureCorruption& p, uint64_t seed, int64_t r, Scratch& s) {
  bool* mask = p.mask + r * p.features;
  draw_words(seed, Stream::kFeatureSelect, p.row_ids[r], (p.features + 3) / 4, s.select.data());
  if (p.exact) {
    features::Selection selection(p);
    for (int64_t j = 0; j < p.features; ++j) mask[j] = selection.next(s.select[j]);
  } else {
    select_below(s.select.data(), p.features, p.threshold, mask);
  }
}

void draw_sources(const FeatureCorruption& p, uint64_t seed, int64_t r, Scratch& s) {
  const uint64_t row = p.row_ids[r], bank_rows = static_cast<uint64_t>(p.bank_rows);
  if (p.source == FeatureSource::kRows) {
    draw_words(seed, Stream::kFeatureSource, row, 1, s.source.data());
    std::fill(s.source.begin(), s.source.end(), uniform_below(s.source[0], bank_rows));
  } else {
    draw_words(seed, Stream::kFeatureSource, row, (p.features + 3) / 4, s.source.data());
    if (p.source == FeatureSource::kMarginals) below(s.source.data(), p.features, bank_rows);
  }
  if (!p.sources) return;
  const bool* mask = p.mask + r * p.features;
  int32_t* sources = p.sources + r * p.features;
  const uint32_t of_bank = p.source == FeatureSource::kUniform ? 0u : ~0u;
  for (int64_t j = 0; j < p.features; ++j) sources[j] = mask[j] ? static_cast<int32_t>(s.source[j] & of_bank) : -1;
}

// Whether a cell is masked cannot be predicted: the address is chosen, not the way.
template <typename Element>
void move_row(const FeatureCorruption& p, int64_t r, const Scratch& s) {
  const bool* mask = p.mask + r * p.features;
  const auto* x = static_cast<const Element*>(p.x) + r * p.x_row_stride;
  const auto* bank = static_cast<const Element*>(p.bank);
  auto* out = static_cast<Element*>(p.out) + r * p.features;
  for (int64_t j = 0; j < p.features; ++j) {
    const Element* there = bank + static_cast<int64_t>(s.source[j]) * p.bank_row_stride + j * p.bank_stride;
    const Element* here = x + j * p.x_stride;
    out[j] = *(mask[j] ? there : here);
  }
}

template <typename Element>
void uniform_row(const FeatureCorruption& p, int64_t r, const Scratch& s, const Ranges& ranges) {
  const bool* mask = p.mask + r * p.features;
  const auto* x = static_cast<const Element*>(p.x) + r * p.x_row_stride;
  auto* out = static_cast<Element*>(p.out) + r * p.features;
  for (int64_t j = 0; j < p.features; ++j) {
    Element drawn;
    narrow(static_cast<Wide<Element>>(features::uniform_value(ranges.low[j], ranges.high[j], s.source[j])), drawn);
    out[j] = mask[j] ? drawn : x[j * p.x_stride];
  }
}

template <typename Element>
void keep_changed(const FeatureCorruption& p, int64_t r) {
  bool* mask = p.mask + r * p.features;
  const auto* x = static_cast<const Element*>(p.x) + r * p.x_row_stride;
  const auto* out = static_cast<const Element*>(p.out) + r * p.features;
  for (int64_t j = 0; j < p.features; ++j) {
    mask[j] = mask[j] & features::differ(out[j], x[j * p.x_stride], p.infinity);
  }
}

template <typename Bits, typename Row>
void for_rows(const FeatureCorruption& p, int threads, Row row) {
  const uint64_t seed = p.seed.get();
  threads = team(p.rows * p.features, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Scratch scratch(p.features);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) {
      select_row(p, seed, r, scratch);
      draw_sources(p, seed, r, scratch);
      row(r, scratch);
      if (p.changed) keep_changed<Bits>(p, r);
    }
  }
}

constexpr int64_t kColumns = 16;  // a cache line of floats

// By value, so that no store can change what it reads.
template <typename Element>
void permute_cells(const FeatureCorruption p, int64_t first, int64_t columns, const int32_t* orders, int64_t stride) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t j = first + k, at = r * p.features + j;
      const int32_t source = orders[k * stride + r];
      const auto* column = static_cast<const Element*>(p.x) + j * p.x_stride;
      const Element own = column[r * p.x_row_stride];
      const bool masked = p.mask[at];
      const Element out = column[(masked ? source : r) * p.x_row_stride];
      static_cast<Element*>(p.out)[at] = out;
      if (p.changed) p.mask[at] = masked & features::differ(out, own, p.infinity);
      if (p.sources) p.sources[at] = masked ? source : -1;
    }
  }
}

template <typename Element>
void permute(const FeatureCorruption& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = team(p.rows * p.features, threads);
  const int64_t columns = std::clamp<int64_t>((p.features + threads - 1) / threads, 1, kColumns);
  const int64_t stride = (((p.rows + 15) / 16) | 1) * 16;  // an odd number of cache lines: columns share no cache set
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Scratch scratch(p.features);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) select_row(p, seed, r, scratch);
    RandomOrder random;
    std::vector<int32_t> orders(columns * stride);
#pragma omp for
    for (int64_t first = 0; first < p.features; first += columns) {
      const int64_t n = std::min(columns, p.features - first);
      for (int64_t k = 0; k < n; ++k) {
        random.draw(features::column_order(seed, first + k), p.rows, orders.data() + k * stride);
      }
      permute_cells<Element>(p, first, n, orders.data(), stride);
    }
  }
}

// A thread has columns of its own, so that nothing is added by two.
template <typename Element>
void backward(const FeatureCorruptionBackward& p, int threads) {
  const auto* grad = static_cast<const Element*>(p.grad);
  threads = std::min<int>(team(p.rows * p.features, threads), static_cast<int>(std::min<int64_t>(p.features, 1 << 10)));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int t = 0; t < threads; ++t) {
    const int64_t first = p.features * t / threads, last = p.features * (t + 1) / threads;
    const auto each = [&](auto cell) {
      for (int64_t r = 0; r < p.rows; ++r) {
        for (int64_t j = first; j < last; ++j) {
          cell(r * p.features + j, j, grad[r * p.row_stride + j * p.stride], p.sources[r * p.features + j]);
        }
      }
    };
    if (p.x) {
      auto* x = static_cast<Element*>(p.x);
      each([&](int64_t at, int64_t, Element g, int32_t source) { x[at] = source < 0 ? g : Element{}; });
    }
    if (!p.bank) continue;
    auto* bank = static_cast<Wide<Element>*>(p.bank);
    if (p.bank_is_x) {
      each([&](int64_t at, int64_t, Element g, int32_t source) { bank[at] = source < 0 ? widen(g) : 0; });
    } else {
      for (int64_t s = 0; s < p.bank_rows; ++s) std::fill_n(bank + s * p.features + first, last - first, 0);
    }
    each([&](int64_t, int64_t j, Element g, int32_t source) {
      if (source >= 0) bank[source * p.features + j] += widen(g);
    });
  }
}

}  // namespace

void feature_corruption(const FeatureCorruption& p, int threads) {
  if (p.source == FeatureSource::kUniform) {
    by_dtype(p.dtype, [&](auto element) {
      using Element = decltype(element);
      const Ranges ranges = column_ranges<Element>(p, threads);
      by_element_size(sizeof(Element), [&](auto bits) {
        for_rows<decltype(bits)>(p, threads,
                                 [&](int64_t r, const Scratch& s) { uniform_row<Element>(p, r, s, ranges); });
      });
    });
    return;
  }
  by_element_size(p.element_size, [&](auto element) {
    using Element = decltype(element);
    if (p.source == FeatureSource::kPermutation) return permute<Element>(p, threads);
    for_rows<Element>(p, threads, [&](int64_t r, const Scratch& s) { move_row<Element>(p, r, s); });
  });
}

void feature_corruption_backward(const FeatureCorruptionBackward& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { backward<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
