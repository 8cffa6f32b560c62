// fairseq's masks of a row, step by step: how many spans, where they go (over one another, or apart), and what becomes
// of the finished mask. What the CPU and the GPU decide alike; the lengths of spans are in span_lengths.h.
#pragma once

#include "span_lengths.h"
#include "time_span_rules.h"

namespace sslfast::fairseq_span {

// How many lengths are drawn for a row of so many frames.
SSLFAST_HD int64_t drawn_spans(const FairseqSpanMask& p, uint64_t seed, int64_t r, int64_t frames) {
  const Words words = p.one_rounding ? philox(seed, Stream::kTimeSpanBatch, 0, 0)
                                     : philox(seed, Stream::kTimeSpanCount, p.row_ids[r], 0);
  const int64_t spans = time_span::rounded_spans({p.mask_prob, p.mask_length, p.min_masks}, words.word[0], frames);
  const int64_t most = p.apart ? p.length : p.every_start ? frames : p.length - 1;  // fairseq fails above it
  return spans < most ? spans : most;
}

struct RowSpans {
  int64_t* lengths;  // of its spans
  int64_t* starts;
  int64_t *begins, *ends;  // of the parts that are left, where spans keep apart
  int64_t frames, spans, shortest;
};

SSLFAST_HD RowSpans row_spans(const FairseqSpanMask& p, int64_t* scratch, int64_t capacity, int64_t frames) {
  const int64_t n = capacity + 1;
  return {scratch, scratch + n, scratch + 2 * n, scratch + 3 * n, frames, 0, p.mask_length};
}

// Random lengths that add up to nothing, or of no span, give way to one span that leaves a frame of the row.
SSLFAST_HD void fall_back(const FairseqSpanMask& p, RowSpans& row) {
  const int64_t length = p.mask_length < row.frames - 1 ? p.mask_length : row.frames - 1;
  row.spans = length > 0;
  row.shortest = row.lengths[0] = length;
}

// Starts are drawn from [0, this). The last place where the shortest span fits is left out; where there is no room for
// so many starts, there is one more than spans, and spans run out of the row.
SSLFAST_HD int64_t possible_starts(const FairseqSpanMask& p, const RowSpans& row) {
  if (p.every_start) return row.frames;
  const int64_t starts = row.frames - row.shortest;
  return starts > row.spans ? starts : row.spans + 1;
}

SSLFAST_HD void sink(int64_t* heap, int64_t at, int64_t n) {
  for (int64_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
    if (child + 1 < n && heap[child + 1] < heap[child]) ++child;
    if (heap[at] <= heap[child]) return;
    const int64_t moved = heap[at];
    heap[at] = heap[child];
    heap[child] = moved;
    at = child;
  }
}

// Heapsort, the longest first: one thread, no memory.
SSLFAST_HD void sort_descending(int64_t* numbers, int64_t n) {
  for (int64_t at = n / 2 - 1; at >= 0; --at) sink(numbers, at, n);
  for (int64_t last = n - 1; last > 0; --last) {
    const int64_t least = numbers[0];
    numbers[0] = numbers[last];
    numbers[last] = least;
    sink(numbers, 0, last);
  }
}

// Places spans, the longest first, each in one part of the row that is chosen by its size, and returns how many: the
// first that fits nowhere ends it. A part is cut in two; what is not above the shortest span is given up. A part needs
// a frame more than the span, as fairseq draws the place (it fails where there is none): that frame is what keeps
// min_space before the next span, and never masks the last frame of a row.
SSLFAST_HD int64_t place_apart(const FairseqSpanMask& p, uint64_t seed, uint64_t row_id, const RowSpans& row) {
  int64_t parts = 1, placed = 0;
  row.begins[0] = 0;
  row.ends[0] = row.frames;
  for (; placed < row.spans && row.lengths[placed] > 0; ++placed) {
    const int64_t length = row.lengths[placed], needed = length + (p.min_space > 1 ? p.min_space : 1);
    int64_t total = 0;
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t size = row.ends[i] - row.begins[i];
      total += size >= needed ? size : 0;
    }
    if (total == 0) break;
    const Words words = philox(seed, Stream::kTimeSpanStart, row_id, static_cast<uint32_t>(placed));
    int64_t at = uniform_below(words.word[0], static_cast<uint64_t>(total)), chosen = 0;
    for (;; ++chosen) {
      const int64_t size = row.ends[chosen] - row.begins[chosen];
      if (size < needed) continue;
      if (at < size) break;
      at -= size;
    }
    const int64_t begin = row.begins[chosen], end = row.ends[chosen];
    const int64_t start = begin + uniform_below(words.word[1], static_cast<uint64_t>(end - length - begin));
    row.starts[placed] = start;
    --parts;
    row.begins[chosen] = row.begins[parts];
    row.ends[chosen] = row.ends[parts];
    const int64_t left_end = start - p.min_space + 1, right_begin = start + length + p.min_space;
    if (left_end - begin > row.shortest) {
      row.begins[parts] = begin;
      row.ends[parts++] = left_end;
    }
    if (end - right_begin > row.shortest) {
      row.begins[parts] = right_begin;
      row.ends[parts++] = end;
    }
  }
  return placed;
}

// Flips `wanted` random ones of the `total` cells that hold `value`: one walk, cell by cell, each flipped with the
// probability (still wanted) / (still to come), so every subset is equally likely.
SSLFAST_HD void flip_some(uint8_t* cells, int64_t length, uint8_t value, int64_t total, int64_t wanted, uint64_t seed,
                          Stream stream, uint64_t row) {
  Words words{};
  int64_t seen = 0;
  for (int64_t t = 0; t < length && wanted > 0; ++t) {
    if (cells[t] != value) continue;
    if (seen % 4 == 0) words = philox(seed, stream, row, static_cast<uint32_t>(seen / 4));
    const uint32_t word = words.word[0];
    for (int k = 0; k < 3; ++k) words.word[k] = words.word[k + 1];  // an index would go through memory
    if (uniform_below(word, static_cast<uint64_t>(total - seen)) < static_cast<uint64_t>(wanted)) {
      cells[t] = value ^ time_span::kMasked;
      --wanted;
    }
    ++seen;
  }
}

// `target` masked frames in every row, then holes. Added frames may lie in the padding, as they do in fairseq.
SSLFAST_HD void settle_row(const FairseqSpanMask& p, uint64_t seed, int64_t r, int64_t target, uint8_t* cells) {
  const uint64_t row = p.row_ids[r];
  int64_t masked = p.counts[r];
  if (p.same_count != SameCount::kNo && masked != target) {
    const bool trim = masked > target;
    flip_some(cells, p.length, trim ? time_span::kMasked : 0, trim ? masked : p.length - masked,
              trim ? masked - target : target - masked, seed, Stream::kTimeSpanTrim, row);
    masked = target;
  }
  const double holes = portable::round_half_even(portable::mul(static_cast<double>(masked), p.mask_dropout));
  flip_some(cells, p.length, time_span::kMasked, masked, static_cast<int64_t>(holes), seed, Stream::kTimeSpanDropout,
            row);
}

}  // namespace sslfast::fairseq_span
