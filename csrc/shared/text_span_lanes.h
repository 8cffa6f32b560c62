// What choose() of text_span_choice.h masks in a row, found by 32 lanes together: the tries are drawn 32 at a time, a
// vote finds the next whose token is free, and a span is marked 32 tokens at a time, its end from votes too. What a try
// finds depends on all before it, so tries stay one after the other: about five votes a try that counts, and one for
// 32 that do not. tests/test_text_span_lanes.py holds the two together.
#pragma once

#include "lanes.h"
#include "text_span_choice.h"

namespace sslfast::text_spans {

constexpr int kLanes = 32;

// A drawn try. Lanes write their own and read all.
struct Try {
  int64_t token, words;
};

SSLFAST_HD uint32_t below_lane(int lane) { return lane >= kLanes ? 0xFFFFFFFFu : (1u << lane) - 1u; }

// The place of the set bit number n, from 0 on; kLanes where there is none.
SSLFAST_HD int set_bit(uint32_t bits, int64_t n) {
  for (; n > 0 && bits; --n) bits &= bits - 1u;
  return bits ? lowest_bit(bits) : kLanes;
}

SSLFAST_HD bool is_free(uint8_t state) { return (state & (kMasked | kMaskable)) == kMaskable; }

// Marks the tokens from `begin` to `end`, a lane's number, of which those whose bits are set in `fresh` are not masked
// yet, as far as `left` of these; `end` is then where it stopped. How many were marked anew. Of a team,
// vote(condition) gives the bits of the lanes for which condition(lane) holds, and each(action) runs action(lane) in
// every lane; what the lanes wrote is seen by all afterwards.
template <typename Team>
SSLFAST_HD int mark(uint8_t* state, int64_t begin, uint32_t fresh, int& end, int64_t left, const Team& team) {
  fresh &= below_lane(end);
  if (count_bits(fresh) >= left) end = set_bit(fresh, left - 1) + 1;
  team.each([&](int lane) {
    if (lane < end) state[begin + lane] |= kMasked;
  });
  return count_bits(fresh & below_lane(end));
}

// Masks the span of a try, at most `left` tokens anew; how many.
template <typename Team>
SSLFAST_HD int64_t mask_span(uint8_t* state, int64_t t, int64_t words, int64_t low, int64_t high, int64_t left,
                             const Team& team) {
  for (int back = kLanes; back == kLanes; t -= back) {  // to the first token of its word
    const uint32_t firsts = team.vote([&](int lane) { return t - lane <= low || !(state[t - lane] & kContinues); });
    back = set_bit(firsts, 0);
  }
  int64_t masked = 0;
  for (;; t += kLanes) {
    const uint32_t outside = team.vote([&](int lane) { return t + lane >= high || !(state[t + lane] & kMaskable); });
    const uint32_t starts = team.vote([&](int lane) { return t + lane < high && !(state[t + lane] & kContinues); });
    const uint32_t fresh = team.vote([&](int lane) { return t + lane < high && is_free(state[t + lane]); });
    const int last = set_bit(outside, 0), next_word = set_bit(starts, words);
    int end = last < next_word ? last : next_word;
    masked += mark(state, t, fresh, end, left - masked, team);
    if (end < kLanes || masked == left) return masked;
    words -= count_bits(starts);
  }
}

template <typename Team>
SSLFAST_HD void choose_together(uint8_t* state, int64_t low, int64_t high, int64_t left, const SpanLengths& lengths,
                                uint64_t seed, uint64_t row, Try* drawn, const Team& team) {
  const uint64_t range = static_cast<uint64_t>(high - low);
  const int64_t tries = 8 * left + 32;
  for (int64_t attempt = 0; attempt < tries && left > 0; attempt += kLanes) {
    team.each([&](int lane) {
      const Words w = philox(seed, Stream::kTextSpan, row, static_cast<uint32_t>(attempt + lane));
      drawn[lane] = {low + uniform_below(w.word[1], range), lengths.draw(w.word[0])};
    });
    for (int next = 0; next < kLanes && left > 0; ++next) {
      next = set_bit(team.vote([&](int lane) {
        return lane >= next && attempt + lane < tries && is_free(state[drawn[lane].token]);
      }),
                     0);
      if (next == kLanes) break;
      left -= mask_span(state, drawn[next].token, drawn[next].words, low, high, left, team);
    }
  }
  if (left == 0) return;
  const int64_t from = uniform_below(philox(seed, Stream::kTextSpan, row, kFillElement).word[0], range);
  for (int64_t step = 0; step < high - low && left > 0; step += kLanes) {
    const auto token = [&](int lane) { return low + (from + step + lane) % (high - low); };
    const uint32_t fresh = team.vote([&](int lane) { return step + lane < high - low && is_free(state[token(lane)]); });
    const int end = count_bits(fresh) > left ? set_bit(fresh, left) : kLanes;
    team.each([&](int lane) {
      if (lane < end && (fresh >> lane & 1u)) state[token(lane)] |= kMasked;
    });
    left -= count_bits(fresh & below_lane(end));
  }
}

}  // namespace sslfast::text_spans
