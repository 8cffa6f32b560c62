// Which words are masked where a row has a budget of tokens. In a random order every word is taken that fits into what
// is left. What is left never grows, so a word that did not fit once never will: the next word is always the first in
// the order among those that fit now, which is how the GPU finds it without an order being stored.
#pragma once

#include "whole_word_places.h"

namespace sslfast {

constexpr int64_t kMostBudget = INT16_MAX;  // the GPU keeps lengths of words in labels, which may be int16

template <typename Id>
SSLFAST_HD int64_t row_budget(const WholeWordMask<Id>& p, int64_t r) {
  const int64_t budget = p.budgets[r];
  return budget < 0 ? 0 : budget > kMostBudget ? kMostBudget : budget;
}

// The tokens of the word that begins at t, or 0 where there are more than `most`.
template <typename Id>
SSLFAST_HD int64_t fitting_length(const WholeWordMask<Id>& p, int64_t r, int64_t t, int64_t most) {
  int64_t n = 1;
  while (n <= most && t + n < p.length && word_place(p, r, t + n) == WordPlace::kInside) ++n;
  return n <= most ? n : 0;
}

// By the draw of the word's first token, then by its place.
SSLFAST_HD uint64_t order_key(uint32_t drawn, int64_t t) {
  return static_cast<uint64_t>(drawn) << 32 | static_cast<uint64_t>(t);
}

SSLFAST_HD int64_t ordered_word(uint64_t key) { return static_cast<int64_t>(key & 0xFFFFFFFFu); }

}  // namespace sslfast
