// Row by row: the starts are marked in the mask itself, where Floyd's algorithm looks them up, and kept in a list,
// from which the spans are then written eight frames at a time.
#include "sslfast/time_span_mask.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "isa.h"
#include "shared/time_span_rules.h"

namespace sslfast::cpu {
namespace {

using namespace time_span;

constexpr int64_t kFramesPerThread = 64 << 10;

void fill_span(uint8_t* cells, int64_t n) {
  constexpr uint64_t kEight = 0x0101010101010101u * kMasked;
  if (n < 8) {
    for (int64_t i = 0; i < n; ++i) cells[i] = kMasked;
    return;
  }
  for (int64_t i = 0; i + 8 <= n; i += 8) std::memcpy(cells + i, &kEight, 8);
  std::memcpy(cells + n - 8, &kEight, 8);
}

SSLFAST_ISA_CLONES void draw_words(uint64_t seed, uint64_t row, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kTimeSpanStart, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

SSLFAST_ISA_CLONES int64_t count_masked(const uint8_t* cells, int64_t length) {
  int64_t count = 0;
  for (int64_t t = 0; t < length; ++t) count += cells[t];
  return count;
}

uint8_t* row_cells(const TimeSpanMask& p, int64_t r) { return reinterpret_cast<uint8_t*>(p.mask) + r * p.length; }

void mask_row(const TimeSpanMask& p, uint64_t seed, int64_t r, std::vector<uint32_t>& words,
              std::vector<int64_t>& starts) {
  uint8_t* cells = row_cells(p, r);
  std::memset(cells, 0, p.length);
  const SpanPlan plan = plan_row(p, seed, r);
  const int64_t counters = (plan.spans + 3) / 4;
  if (static_cast<int64_t>(words.size()) < 4 * counters) {
    words.resize(4 * counters);
    starts.resize(4 * counters);
  }
  draw_words(seed, p.row_ids[r], counters, words.data());
  for (int64_t i = 0; i < plan.spans; ++i) starts[i] = pick_start(plan, cells, words[i], i);
  for (int64_t i = 0; i < plan.spans; ++i) {
    if (starts[i] < plan.frames) {
      fill_span(cells + starts[i], std::min(p.mask_length, plan.frames - starts[i]));
    } else {
      cells[starts[i]] = 0;
    }
  }
  if (plan.marks_padding) cells[p.length - 1] = kMasked;
  if (p.counts) p.counts[r] = count_masked(cells, p.length);
}

}  // namespace

void time_span_mask(const TimeSpanMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kFramesPerThread, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<uint32_t> words;
    std::vector<int64_t> starts;
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) mask_row(p, seed, r, words, starts);
  }
  if (!p.counts || p.rows == 0) return;
  const auto ends = std::minmax_element(p.counts, p.counts + p.rows);
  const int64_t target = p.same_count == SameCount::kMost ? *ends.second : *ends.first;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) settle_row(p, seed, r, target, row_cells(p, r));
}

}  // namespace sslfast::cpu
