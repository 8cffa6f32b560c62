// Where words begin and end, from what a token and the one before it say.
#pragma once

#include "sslfast/whole_word_mask.h"

namespace sslfast {

enum class WordPlace { kInside, kStart, kOutside };  // goes on with the word before it, begins one, is in none

template <typename Id>
SSLFAST_HD bool outside_of_words(const WholeWordMask<Id>& p, int64_t r, int64_t t) {
  if (p.special && p.special[r * p.special_row_stride + t * p.special_stride]) return true;
  const int64_t* word = p.words + r * p.words_row_stride + t * p.words_stride;
  if (!p.offsets) return *word < 0;
  return !p.special && word[0] == word[p.end_stride];  // special tokens and padding cover no text
}

template <typename Id>
SSLFAST_HD WordPlace word_place(const WholeWordMask<Id>& p, int64_t r, int64_t t) {
  if (outside_of_words(p, r, t)) return WordPlace::kOutside;
  if (t == 0 || outside_of_words(p, r, t - 1)) return WordPlace::kStart;
  const int64_t* word = p.words + r * p.words_row_stride + t * p.words_stride;
  const int64_t before = *(word - p.words_stride + p.end_stride);  // its word, or the end of the token before
  return *word == before ? WordPlace::kInside : WordPlace::kStart;
}

}  // namespace sslfast
