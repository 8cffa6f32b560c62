// Which tokens of one row SpanBERT masks, over one byte of state a token.
#pragma once

#include "portable_double.h"
#include "sslfast/text_span_mask.h"

namespace sslfast::text_spans {

// A token's state. kContinues: it is of the same word as the token before it, and both may be masked.
enum : uint8_t { kMasked = 1, kMaskable = 2, kContinues = 4 };

constexpr uint32_t kFillElement = 0xFFFFFFFFu;  // where to begin when the tries are spent

template <typename Id>
SSLFAST_HD uint8_t token_state(const TextSpanMask<Id>& p, int64_t r, int64_t t) {
  const auto maskable = [&](int64_t i) {
    return !(p.special && p.special[r * p.special_row_stride + i * p.special_stride]) &&
           !(p.word_ids && p.word_ids[r * p.word_row_stride + i * p.word_stride] < 0);
  };
  if (!maskable(t)) return 0;
  const bool continues = p.word_ids && t > 0 && maskable(t - 1) &&
                         p.word_ids[r * p.word_row_stride + t * p.word_stride] ==
                             p.word_ids[r * p.word_row_stride + (t - 1) * p.word_stride];
  return static_cast<uint8_t>(kMaskable | (continues ? kContinues : 0));
}

// ceil(maskable * ratio), at most all.
SSLFAST_HD int64_t budget(int64_t maskable, double ratio) {
  const double exact = portable::mul(static_cast<double>(maskable), ratio);
  int64_t tokens = static_cast<int64_t>(exact);
  if (static_cast<double>(tokens) < exact) ++tokens;
  return tokens > maskable ? maskable : tokens;
}

// [low, high) holds all tokens that may be masked. Tries are bounded: what they leave, which happens where nearly all
// tokens are masked or few between low and high may be, is taken in order from a random token on.
SSLFAST_HD void choose(uint8_t* state, int64_t low, int64_t high, int64_t left, const SpanLengths& lengths,
                       uint64_t seed, uint64_t row) {
  const uint64_t range = static_cast<uint64_t>(high - low);
  const int64_t tries = 8 * left + 32;
  for (int64_t attempt = 0; attempt < tries && left > 0; ++attempt) {
    const Words w = philox(seed, Stream::kTextSpan, row, static_cast<uint32_t>(attempt));
    int64_t t = low + uniform_below(w.word[1], range);
    if ((state[t] & (kMasked | kMaskable)) != kMaskable) continue;
    while (state[t] & kContinues) --t;
    for (int64_t words = lengths.draw(w.word[0]); words > 0 && t < high && (state[t] & kMaskable); --words) {
      do {
        left -= !(state[t] & kMasked);
        state[t] |= kMasked;
        ++t;
      } while (left > 0 && t < high && (state[t] & kContinues));
      if (left == 0) return;
    }
  }
  if (left == 0) return;
  int64_t t = low + uniform_below(philox(seed, Stream::kTextSpan, row, kFillElement).word[0], range);
  for (uint64_t step = 0; step < range && left > 0; ++step) {
    if ((state[t] & (kMasked | kMaskable)) == kMaskable) {
      state[t] |= kMasked;
      --left;
    }
    if (++t == high) t = low;
  }
}

// What takes the place of a masked token; `key` is the first token of its span where a span is replaced as one.
template <typename Id>
SSLFAST_HD Id replacement(const TextSpanMask<Id>& p, uint64_t seed, uint64_t row, int64_t key, int64_t t, Id id) {
  const Words of_key = philox(seed, Stream::kTextSpanReplace, row, static_cast<uint32_t>(key));
  const uint32_t kind = of_key.word[0];
  const bool random = kind >= p.replacement.mask_threshold && kind < p.replacement.random_threshold;
  const Words own = random && key != t ? philox(seed, Stream::kTextSpanReplace, row, static_cast<uint32_t>(t)) : of_key;
  return p.replacement(kind, own.word[1], id);
}

}  // namespace sslfast::text_spans
