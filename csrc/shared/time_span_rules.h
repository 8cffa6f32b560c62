// How many spans a row gets, where they start, and what fairseq does to the finished mask: what the CPU and the GPU
// decide alike. Starts are drawn without replacement by Floyd's algorithm, whose set is the row of cells itself, so a
// row of any length needs no memory beside its own mask.
#pragma once

#include "portable_double.h"
#include "sslfast/time_span_mask.h"

namespace sslfast::time_span {

constexpr uint8_t kMasked = 1, kStart = 2;  // bits of a cell; kStart is gone in the result

SSLFAST_HD int64_t row_frames(const TimeSpanMask& p, int64_t r) {
  const int64_t frames = p.lengths ? p.lengths[r] : p.length;
  return frames < 0 ? 0 : frames > p.length ? p.length : frames;
}

// mask_prob * frames / mask_length, rounded up with the probability of its fraction, and at least min_masks.
SSLFAST_HD int64_t rounded_spans(const TimeSpanMask& p, uint32_t word, int64_t frames) {
  const double exact =
      portable::div(portable::mul(p.mask_prob, static_cast<double>(frames)), static_cast<double>(p.mask_length));
  const int64_t whole = static_cast<int64_t>(exact);
  const double fraction = portable::sub(exact, static_cast<double>(whole));
  const uint64_t threshold = static_cast<uint64_t>(portable::add(portable::mul(fraction, 4294967296.0), 0.5));
  const int64_t spans = whole + (word < threshold);
  return spans < p.min_masks ? p.min_masks : spans;
}

// transformers: as many as fit into the padded row, and as there are starts in this one.
SSLFAST_HD int64_t hugging_face_spans(const TimeSpanMask& p, uint32_t word, int64_t frames) {
  int64_t spans = rounded_spans(p, word, frames);
  if (spans > p.length / p.mask_length) spans = p.length / p.mask_length;
  const int64_t starts = frames - p.mask_length + 1;
  return starts < spans ? (starts < 0 ? 0 : starts) : spans;
}

struct SpanPlan {
  int64_t frames;      // before the padding
  int64_t spans;       // how many starts are drawn
  int64_t starts;      // from [0, starts)
  bool marks_padding;  // transformers: a row too short for a span masks the last frame of the batch
};

SSLFAST_HD SpanPlan plan_row(const TimeSpanMask& p, uint64_t seed, int64_t r) {
  SpanPlan plan{row_frames(p, r), 0, 0, false};
  if (p.rule == SpanRule::kHuggingFace) {
    const uint32_t word = philox(seed, Stream::kTimeSpanBatch, 0, 0).word[0];  // one draw for the batch
    plan.spans = hugging_face_spans(p, word, plan.frames);
    plan.starts = plan.frames - p.mask_length + 1;
    plan.marks_padding = plan.spans == 0 && hugging_face_spans(p, word, p.length) > 0;
    return plan;
  }
  const uint32_t word = philox(seed, Stream::kTimeSpanCount, p.row_ids[r], 0).word[0];
  const int64_t spans = rounded_spans(p, word, plan.frames);
  if (p.rule == SpanRule::kExact) {
    const int64_t fit = plan.frames / p.mask_length;
    plan.spans = spans < fit ? spans : fit;
    plan.starts = plan.frames - p.mask_length + 1;
  } else {
    plan.spans = spans < p.length ? spans : p.length - 1;
    const bool crowded = plan.frames - p.mask_length <= plan.spans;
    plan.starts = crowded ? plan.spans + 1 : plan.frames - p.mask_length;  // the last start is left out
  }
  return plan;
}

// Step i of Floyd's algorithm: every set of plan.spans starts is equally likely after the last.
SSLFAST_HD int64_t pick_start(const SpanPlan& plan, uint8_t* cells, uint32_t word, int64_t i) {
  const int64_t newest = plan.starts - plan.spans + i;
  const int64_t drawn = uniform_below(word, static_cast<uint64_t>(newest) + 1);
  const int64_t start = cells[drawn] & kStart ? newest : drawn;
  cells[start] |= kStart;
  return start;
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
      cells[t] = value ^ kMasked;
      --wanted;
    }
    ++seen;
  }
}

// fairseq: `target` masked frames in every row, then holes. Added frames may lie in the padding, as they do there.
SSLFAST_HD void settle_row(const TimeSpanMask& p, uint64_t seed, int64_t r, int64_t target, uint8_t* cells) {
  const uint64_t row = p.row_ids[r];
  int64_t masked = p.counts[r];
  if (p.same_count != SameCount::kNo && masked != target) {
    const bool trim = masked > target;
    flip_some(cells, p.length, trim ? kMasked : 0, trim ? masked : p.length - masked,
              trim ? masked - target : target - masked, seed, Stream::kTimeSpanTrim, row);
    masked = target;
  }
  const double holes = portable::round_half_even(portable::mul(static_cast<double>(masked), p.mask_dropout));
  flip_some(cells, p.length, kMasked, masked, static_cast<int64_t>(holes), seed, Stream::kTimeSpanDropout, row);
}

}  // namespace sslfast::time_span
