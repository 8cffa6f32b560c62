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

// What a token has to know of its word, the place of the first token and whether that was drawn, is the largest key so
// far: 2 (place + 1) + drawn where a word begins, 2 (place + 1) outside of words, 0 inside of one.
SSLFAST_HD uint64_t word_key(WordPlace place, int64_t t, bool drawn) {
  if (place == WordPlace::kInside) return 0;
  return static_cast<uint64_t>(t + 1) << 1 | static_cast<uint64_t>(place == WordPlace::kStart && drawn);
}

SSLFAST_HD uint64_t later_key(uint64_t a, uint64_t b) { return a < b ? b : a; }
SSLFAST_HD bool is_drawn(uint64_t key) { return key & 1u; }
SSLFAST_HD int64_t word_start(uint64_t key) { return static_cast<int64_t>(key >> 1) - 1; }

}  // namespace sslfast
