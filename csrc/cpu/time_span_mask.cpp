// Row by row: the starts are marked in the mask itself, where Floyd's algorithm looks them up, and kept in a list,
// from which the spans are then written eight frames at a time.
#include "sslfast/time_span_mask.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "time_spans.h"

namespace sslfast::cpu {
namespace {

using namespace time_span;

constexpr int64_t kFramesPerThread = 64 << 10;

void mask_row(const TimeSpanMask& p, uint64_t seed, int64_t r, std::vector<uint32_t>& words,
              std::vector<int64_t>& starts) {
  uint8_t* cells = reinterpret_cast<uint8_t*>(p.mask) + r * p.length;
  std::memset(cells, 0, p.length);
  const SpanPlan plan = plan_row(p, seed, r);
  const int64_t counters = (plan.spans + 3) / 4;
  if (static_cast<int64_t>(words.size()) < 4 * counters) {
    words.resize(4 * counters);
    starts.resize(4 * counters);
  }
  time_spans::draw_words(seed, Stream::kTimeSpanStart, p.row_ids[r], counters, words.data());
  for (int64_t i = 0; i < plan.spans; ++i) starts[i] = pick_start(plan.starts, plan.spans, cells, words[i], i);
  for (int64_t i = 0; i < plan.spans; ++i) time_spans::fill_span(cells + starts[i], p.mask_length);
  if (plan.marks_padding) cells[p.length - 1] = kMasked;
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
}

}  // namespace sslfast::cpu
