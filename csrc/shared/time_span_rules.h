// How many spans a row gets and where they start: what the CPU and the GPU decide alike. Starts are drawn without
// replacement by Floyd's algorithm, whose set is the row of cells itself, so a row of any length needs no memory beside
// its own mask.
#pragma once

#include "portable_double.h"
#include "sslfast/time_span_mask.h"

namespace sslfast::time_span {

constexpr uint8_t kMasked = 1, kStart = 2;  // bits of a cell; kStart is gone in the result

SSLFAST_HD int64_t row_frames(const int64_t* lengths, int64_t length, int64_t r) {
  const int64_t frames = lengths ? lengths[r] : length;
  return frames < 0 ? 0 : frames > length ? length : frames;
}

struct SpanRate {
  double mask_prob;
  int64_t mask_length, min_masks;
};

// mask_prob * frames / mask_length, rounded up with the probability of its fraction, and at least min_masks.
SSLFAST_HD int64_t rounded_spans(const SpanRate& rate, uint32_t word, int64_t frames) {
  const double exact =
      portable::div(portable::mul(rate.mask_prob, static_cast<double>(frames)), static_cast<double>(rate.mask_length));
  const int64_t whole = static_cast<int64_t>(exact);
  const double fraction = portable::sub(exact, static_cast<double>(whole));
  const uint64_t threshold = static_cast<uint64_t>(portable::add(portable::mul(fraction, 4294967296.0), 0.5));
  const int64_t spans = whole + (word < threshold);
  return spans < rate.min_masks ? rate.min_masks : spans;
}

// transformers: as many as fit into the padded row, and as there are starts in this one.
SSLFAST_HD int64_t hugging_face_spans(const TimeSpanMask& p, uint32_t word, int64_t frames) {
  int64_t spans = rounded_spans({p.mask_prob, p.mask_length, p.min_masks}, word, frames);
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
  SpanPlan plan{row_frames(p.lengths, p.length, r), 0, 0, false};
  plan.starts = plan.frames - p.mask_length + 1;
  if (p.rule == SpanRule::kHuggingFace) {
    const uint32_t word = philox(seed, Stream::kTimeSpanBatch, 0, 0).word[0];  // one draw for the batch
    plan.spans = hugging_face_spans(p, word, plan.frames);
    plan.marks_padding = plan.spans == 0 && hugging_face_spans(p, word, p.length) > 0;
  } else {
    const uint32_t word = philox(seed, Stream::kTimeSpanCount, p.row_ids[r], 0).word[0];
    const int64_t spans = rounded_spans({p.mask_prob, p.mask_length, p.min_masks}, word, plan.frames);
    const int64_t fit =
        plan.frames > 0 ? (plan.frames - 1) / p.mask_length : 0;  // and leave a frame, wherever they are
    plan.spans = spans < fit ? spans : fit;
  }
  return plan;
}

// Step i of Floyd's algorithm for `spans` of `starts`: every set is equally likely after the last.
SSLFAST_HD int64_t pick_start(int64_t starts, int64_t spans, uint8_t* cells, uint32_t word, int64_t i) {
  const int64_t newest = starts - spans + i;
  const int64_t drawn = uniform_below(word, static_cast<uint64_t>(newest) + 1);
  const int64_t start = cells[drawn] & kStart ? newest : drawn;
  cells[start] |= kStart;
  return start;
}

}  // namespace sslfast::time_span
