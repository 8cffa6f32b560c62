// Row by row: lengths, then starts, marked in the mask itself where Floyd's algorithm looks them up, then the spans;
// when all rows are done, those that mask more or less than the others are settled.
#include "sslfast/fairseq_span_mask.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "shared/fairseq_span_rules.h"
#include "time_spans.h"

namespace sslfast::cpu {
namespace {

using namespace fairseq_span;

constexpr int64_t kFramesPerThread = 64 << 10;

SSLFAST_ISA_CLONES int64_t count_masked(const uint8_t* cells, int64_t length) {
  int64_t count = 0;
  for (int64_t t = 0; t < length; ++t) count += cells[t];
  return count;
}

uint8_t* row_cells(const FairseqSpanMask& p, int64_t r) { return reinterpret_cast<uint8_t*>(p.mask) + r * p.length; }

void draw_lengths(const FairseqSpanMask& p, const LengthLaw& law, uint64_t seed, uint64_t row_id, RowSpans& row,
                  std::vector<uint32_t>& words) {
  if (law.kind == SpanLength::kStatic) {
    std::fill_n(row.lengths, row.spans, std::min(law.mean, law.longest));
    return;
  }
  time_spans::draw_words(seed, Stream::kTimeSpanLength, row_id, (row.spans + 3) / 4, words.data());
  for (int64_t i = 0; i < row.spans; ++i) row.lengths[i] = draw_length(law, words[i]);
  const auto ends = std::minmax_element(row.lengths, row.lengths + row.spans);
  if (row.spans == 0 || *ends.second == 0) {
    fall_back(p, row);
  } else {
    row.shortest = *ends.first;
  }
}

// Returns how many spans got a start.
int64_t draw_starts(const FairseqSpanMask& p, uint64_t seed, uint64_t row_id, const RowSpans& row, uint8_t* cells,
                    std::vector<uint32_t>& words) {
  if (p.apart) {
    if (p.span_length != SpanLength::kStatic) sort_descending(row.lengths, row.spans);
    return place_apart(p, seed, row_id, row);
  }
  time_spans::draw_words(seed, Stream::kTimeSpanStart, row_id, (row.spans + 3) / 4, words.data());
  const int64_t starts = possible_starts(p, row);
  for (int64_t i = 0; i < row.spans; ++i) {
    row.starts[i] = time_span::pick_start(starts, row.spans, cells, words[i], i);
  }
  for (int64_t i = 0; i < row.spans; ++i) cells[row.starts[i]] = 0;
  return row.spans;
}

void mask_row(const FairseqSpanMask& p, const LengthLaw& law, uint64_t seed, int64_t r, std::vector<uint32_t>& words) {
  uint8_t* cells = row_cells(p, r);
  std::memset(cells, 0, p.length);
  const int64_t frames = time_span::row_frames(p.lengths, p.length, r);
  RowSpans row = row_spans(p, p.scratch + r * scratch_numbers(p), span_capacity(p), frames);
  row.spans = drawn_spans(p, seed, r, frames);
  draw_lengths(p, law, seed, p.row_ids[r], row, words);
  const int64_t placed = draw_starts(p, seed, p.row_ids[r], row, cells, words);
  for (int64_t i = 0; i < placed; ++i) {
    if (row.starts[i] >= frames) continue;
    time_spans::fill_span(cells + row.starts[i], std::min(row.lengths[i], frames - row.starts[i]));
  }
  p.counts[r] = count_masked(cells, p.length);
}

}  // namespace

void fairseq_span_mask(const FairseqSpanMask& p, int threads) {
  if (p.rows == 0) return;
  const uint64_t seed = p.seed.get();
  const LengthLaw law = length_law(p);
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kFramesPerThread, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<uint32_t> words(span_capacity(p) + 3);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) mask_row(p, law, seed, r, words);
  }
  const auto ends = std::minmax_element(p.counts, p.counts + p.rows);
  const int64_t target = p.same_count == SameCount::kMost ? *ends.second : *ends.first;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) settle_row(p, seed, r, target, row_cells(p, r));
}

}  // namespace sslfast::cpu
