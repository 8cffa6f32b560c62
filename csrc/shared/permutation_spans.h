// The spans of one row that XLNet predicts: contexts one after the other, in each a span at a random place.
#pragma once

#include "sslfast/permutation_mask.h"

namespace sslfast::permutation {

constexpr uint32_t kSpareElement = 0xFFFFFFFFu;  // the token that is masked where none was

template <typename Id, typename Out>
SSLFAST_HD bool is_special(const PermutationMask<Id, Out>& p, int64_t r, int64_t t) {
  return p.special && p.special[r * p.special_row_stride + t * p.special_stride];
}

// Sets the row of `mask`, which is false, over the tokens [low, high). Compat: the whole row, and what runs over its
// end is cut off. Exact: the last context ends with the row and its span is shortened by the same share, rounded up or
// down at random so that it is right on average; and one token at least is masked if one may be.
template <typename Id, typename Out>
SSLFAST_HD void set_spans(const PermutationMask<Id, Out>& p, int64_t r, uint64_t seed, uint64_t row, int64_t low,
                          int64_t high, bool* mask) {
  uint32_t element = 0;
  bool any = false;
  for (int64_t context = 0, begin = low; begin < high; begin += context, ++element) {
    const Words w = philox(seed, Stream::kPermutationSpan, row, element);
    int64_t span = 1 + uniform_below(w.word[0], static_cast<uint64_t>(p.spans));
    context = p.contexts[span - 1];
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
  if (any || p.compat || low >= high) return;
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
