// The spans of one row that XLNet predicts: contexts one after the other, in each a span at a random place. How long a
// context is depends on its own word alone, so the lanes draw as many at once as there are lanes, and sums say where
// they begin.
#pragma once

#include "lanes.h"
#include "sslfast/permutation_mask.h"

namespace sslfast::permutation {

constexpr uint32_t kSpareElement = 0xFFFFFFFFu;  // the token that is masked where none was

template <typename Id, typename Out>
SSLFAST_HD bool is_special(const PermutationMask<Id, Out>& p, int64_t r, int64_t t) {
  return p.special && p.special[r * p.special_row_stride + t * p.special_stride];
}

struct TokenRange {
  int low, high;
};

// The tokens that spans are set over: all, or from the first that is not special to the last.
template <typename Id, typename Out>
SSLFAST_HD TokenRange token_range(const PermutationMask<Id, Out>& p, int64_t r, Lanes lanes) {
  const int length = static_cast<int>(p.length);
  if (p.compat || !p.special) return {0, length};
  int low = length, high = 0;
  for (int base = 0; base < length && low == length; base += lanes.step) {
    const int t = base + lanes.first;
    low = lane_min(t < length && !is_special(p, r, t) ? t : length);
  }
  for (int base = 0; base < length - low && high == 0; base += lanes.step) {
    const int t = length - 1 - base - lanes.first;
    high = lane_max(t >= low && !is_special(p, r, t) ? t + 1 : 0);
  }
  return low < high ? TokenRange{low, high} : TokenRange{0, 0};
}

// Sets the row of `mask`, which is false, over the tokens of a range. Compat: the whole row, and what runs over its
// end is cut off. Exact: the last context ends with the row and its span is shortened by the same share, rounded up or
// down at random so that it is right on average; and one token at least is masked if one may be.
template <typename Id, typename Out>
SSLFAST_HD void set_spans(const PermutationMask<Id, Out>& p, int64_t r, uint64_t seed, uint64_t row, TokenRange tokens,
                          bool* mask, Lanes lanes) {
  const int64_t low = tokens.low, high = tokens.high;
  uint32_t element = static_cast<uint32_t>(lanes.first);
  bool any = false;
  for (int64_t next = low; next < high; element += static_cast<uint32_t>(lanes.step)) {
    const Words w = philox(seed, Stream::kPermutationSpan, row, element);
    int64_t span = 1 + uniform_below(w.word[0], static_cast<uint64_t>(p.spans));
    const int64_t context = p.contexts[span - 1];
    const int taken = static_cast<int>(context < high - low ? context : high - low);  // beyond, nothing begins
    const int64_t begin = next + lane_before(taken, lanes.first);
    next += lane_sum(taken);
    if (begin >= high) continue;
    int64_t room = context;
    if (!p.compat && high - begin < context) {
      room = high - begin;
      span = (room * span + uniform_below(w.word[2], static_cast<uint64_t>(context))) / context;
    }
    const int64_t first = begin + uniform_below(w.word[1], static_cast<uint64_t>(room - span + 1));
    for (int64_t t = first; t < first + span && t < high; ++t) {
      mask[t] = !is_special(p, r, t);
      any |= mask[t];
    }
  }
  any = lane_max(any);
  if (any || p.compat || low >= high || lanes.first > 0) return;
  const uint64_t size = static_cast<uint64_t>(high - low);
  int64_t t = low + uniform_below(philox(seed, Stream::kPermutationSpan, row, kSpareElement).word[0], size);
  while (is_special(p, r, t)) t = t + 1 == high ? low : t + 1;  // `low` is none
  mask[t] = true;
}

// Whether a token that is not masked stands before all others: in compat mode special tokens keep their place.
template <typename Id, typename Out>
SSLFAST_HD bool is_context(const PermutationMask<Id, Out>& p, int64_t r, int64_t t, bool masked) {
  return !masked && !(p.compat && is_special(p, r, t));
}

}  // namespace sslfast::permutation
