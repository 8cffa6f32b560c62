// One pass over the tokens, which finds where masked words begin and follows these to their ends: O(length), where a
// comparison of all pairs of tokens is O(length^2). The draw that selects a word is that of its first token, four
// tokens per Philox counter in a loop that vectorises, as does what a token is to the one before it; only masked tokens
// pay for a second counter that decides the replacement, and none where it is [MASK] whatever is drawn.
#include "sslfast/whole_word_mask.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../shared/word_budget.h"
#include "id_range.h"
#include "packed_rows.h"
#include "select_words.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kChunk = 1024;            // tokens; 4 KiB of draws stay in L1
constexpr int64_t kTokensPerThread = 8192;  // about 30 us; waking a thread costs a few

// The first token of the row's word with the least select word, or -1: which of them it is, is uniform.
template <typename Id>
int64_t least_word(const WholeWordMask<Id>& p, uint64_t seed, uint64_t row, int64_t r) {
  uint32_t words[kChunk];
  int64_t least = -1;
  uint32_t drawn = 0;
  for (int64_t first = 0; first < p.length; first += kChunk) {
    const int64_t n = std::min(kChunk, p.length - first);
    select_words(seed, Stream::kWordSelect, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      if (word_place(p, r, first + i) != WordPlace::kStart) continue;
      if (least < 0 || words[i] < drawn) least = first + i, drawn = words[i];
    }
  }
  return least;
}

// The first tokens of the words that the row's budget takes, ascending.
template <typename Id>
std::vector<int64_t> budgeted_words(const WholeWordMask<Id>& p, uint64_t seed, uint64_t row, int64_t r) {
  uint32_t words[kChunk];
  std::vector<uint64_t> order;
  for (int64_t first = 0; first < p.length; first += kChunk) {
    const int64_t n = std::min(kChunk, p.length - first);
    select_words(seed, Stream::kWordSelect, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      if (word_place(p, r, first + i) == WordPlace::kStart) order.push_back(order_key(words[i], first + i));
    }
  }
  std::make_heap(order.begin(), order.end(), std::greater<>());  // most words stay in it: no need to sort them
  std::vector<int64_t> taken;
  int64_t left = row_budget(p, r);
  for (auto end = order.end(); end != order.begin() && left > 0;) {
    std::pop_heap(order.begin(), end--, std::greater<>());
    const int64_t start = ordered_word(*end), n = fitting_length(p, r, start, left);
    if (n > 0) taken.push_back(start);
    left -= n;
  }
  std::sort(taken.begin(), taken.end());
  return taken;
}

// Negative where one of n tokens ends before it begins. A sign, not a comparison: that vectorises everywhere.
inline int64_t backwards(const int64_t* word, int64_t n, int64_t stride, int64_t end_stride) {
  uint64_t signs = 0;
  for (int64_t t = 0; t < n; ++t) {
    signs |= static_cast<uint64_t>(word[t * stride + end_stride]) - static_cast<uint64_t>(word[t * stride]);
  }
  return static_cast<int64_t>(signs);
}

template <typename Id>
bool runs_backwards(const WholeWordMask<Id>& p, int64_t r) {
  const int64_t* words = p.words + r * p.words_row_stride;
  const bool dense = p.words_stride == 2 && p.end_stride == 1;  // constants to the compiler
  return (dense ? backwards(words, p.length, 2, 1) : backwards(words, p.length, p.words_stride, p.end_stride)) < 0;
}

// Throws the first such token.
template <typename Id>
void refuse_offsets(const WholeWordMask<Id>& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t t = 0; t < p.length; ++t) {
      const int64_t* word = p.words + r * p.words_row_stride + t * p.words_stride;
      if (word[p.end_stride] >= word[0]) continue;
      throw std::invalid_argument("mask_words: offset_mapping must have ends that are at least starts, got (" +
                                  std::to_string(word[0]) + ", " + std::to_string(word[p.end_stride]) + ")");
    }
  }
}

// Of n tokens whether each goes on with the word before it, and whether a selected word begins there: of pairs of
// offsets and special tokens, both without gaps, as tokenizers give them. The first of them has a token before it.
SSLFAST_ISA_CLONES static void dense_places(const int64_t* words, const bool* special, const uint32_t* draws,
                                            uint64_t threshold, int64_t n, uint8_t* inside, uint8_t* begins) {
  const auto* outside = reinterpret_cast<const uint8_t*>(special);
  const uint8_t some = threshold > 0;
  const auto last = static_cast<uint32_t>(threshold - some);  // of the draws that select
  for (int64_t i = 0; i < n; ++i) inside[i] = words[2 * i] == words[2 * i - 1];
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t goes_on = inside[i] & (outside[i - 1] ^ 1) & (outside[i] ^ 1);
    inside[i] = goes_on;
    begins[i] = some & (outside[i] ^ 1) & (goes_on ^ 1) & static_cast<uint8_t>(draws[i] <= last);
  }
}

template <typename Id>
void find_places(const WholeWordMask<Id>& p, int64_t r, int64_t first, int64_t n, const uint32_t* draws,
                 uint8_t* inside, uint8_t* begins) {
  const bool dense = p.offsets && p.special && p.words_stride == 2 && p.end_stride == 1 && p.special_stride == 1;
  const int64_t slow = !dense ? n : first == 0;
  for (int64_t i = 0; i < slow; ++i) {
    const WordPlace place = word_place(p, r, first + i);
    inside[i] = place == WordPlace::kInside;
    begins[i] = place == WordPlace::kStart && draws[i] < p.select_threshold;
  }
  if (!dense) return;
  const int64_t t = first + slow;
  dense_places(p.words + r * p.words_row_stride + 2 * t, p.special + r * p.special_row_stride + t, draws + slow,
               p.select_threshold, n - slow, inside + slow, begins + slow);
}

template <typename Id>
int64_t mask_row(const WholeWordMask<Id>& p, uint64_t seed, int64_t r, Id& strayed_id) {
  const uint64_t row = p.row_ids[r];
  const Id* ids = p.ids + r * p.ids_row_stride;
  Id* out = p.masked_ids + r * p.length;
  Id* labels = p.labels + r * p.length;
  int64_t* masked = p.masked + r * p.length;
  int64_t count = 0;
  const bool always = p.replacement.mask_threshold > UINT32_MAX;
  const auto mask_token = [&](int64_t t, int64_t start) {
    masked[count++] = r * p.length + t;
    labels[t] = out[t];
    if (always) {
      out[t] = p.replacement.mask_token_id;
      return;
    }
    const Words w = philox(seed, Stream::kWordReplace, row, static_cast<uint32_t>(t));
    const bool own = !p.replace_words || t == start;
    const uint32_t kind =
        own ? w.word[0] : philox(seed, Stream::kWordReplace, row, static_cast<uint32_t>(start)).word[0];
    out[t] = p.replacement(kind, w.word[1], out[t]);
  };
  const auto mask_word = [&](int64_t start) {
    mask_token(start, start);
    for (int64_t t = start + 1; t < p.length && word_place(p, r, t) == WordPlace::kInside; ++t) mask_token(t, start);
  };
  if (p.budgets) {
    for (int64_t t = 0; t < p.length; ++t) out[t] = ids[t * p.ids_stride];
    std::fill_n(labels, p.length, p.ignore_index);
    for (const int64_t start : budgeted_words(p, seed, row, r)) mask_word(start);
    return count;
  }
  uint32_t words[kChunk];
  int32_t hits[kChunk];
  uint8_t inside[kChunk], begins[kChunk];
  Id stray = 0;
  int64_t at_hand = -1;  // the first token of the masked word that the last chunk ended in
  for (int64_t first = 0; first < p.length; first += kChunk) {
    const int64_t n = std::min(kChunk, p.length - first);
    select_words(seed, Stream::kWordSelect, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      const Id id = ids[(first + i) * p.ids_stride];
      stray = strayed(stray, id, p.last_id);
      out[first + i] = id;
    }
    std::fill_n(labels + first, n, p.ignore_index);
    find_places(p, r, first, n, words, inside, begins);
    int64_t found = 0;
    for (int64_t i = 0; i < n; ++i) {  // what is masked cannot be predicted, so no branch on it
      hits[found] = static_cast<int32_t>(i);
      found += begins[i];
    }
    const auto follow = [&](int64_t i, int64_t start) {
      while (i < n && inside[i]) mask_token(first + i++, start);
      at_hand = i < n ? -1 : start;
    };
    if (at_hand >= 0) follow(0, at_hand);
    for (int64_t h = 0; h < found; ++h) {
      mask_token(first + hits[h], first + hits[h]);
      follow(hits[h] + 1, first + hits[h]);
    }
  }
  strayed_id = static_cast<Id>(strayed_id | stray);
  if (p.forced && count == 0) {
    const int64_t start = least_word(p, seed, row, r);
    if (start >= 0) mask_word(start);
  }
  return count;
}

template <typename Id>
void run(const WholeWordMask<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kTokensPerThread, 1, threads));
  Id stray = 0;
  bool refused = false;
#pragma omp parallel for num_threads(threads) if (threads > 1) reduction(| : stray, refused)
  for (int64_t r = 0; r < p.rows; ++r) {
    if (p.offsets) refused |= runs_backwards(p, r);
    p.counts[r] = mask_row(p, seed, r, stray);
  }
  if (stray < 0) refuse_ids("mask_words", p);
  if (refused) refuse_offsets(p);
  pack_rows(p.masked, p.counts, p.rows, p.length);
}

}  // namespace

void whole_word_mask(const WholeWordMask<int16_t>& p, int threads) { run(p, threads); }
void whole_word_mask(const WholeWordMask<int32_t>& p, int threads) { run(p, threads); }
void whole_word_mask(const WholeWordMask<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
