// One pass over the tokens. The select draws of a chunk are made first, four tokens per Philox counter, in a loop
// that vectorises; only masked tokens (15 %) pay for a second counter that decides the replacement. Positions are
// written at the start of their own row and packed once the row counts are known.
#include "sslfast/token_mask.h"

#include <algorithm>

#include "id_range.h"
#include "packed_rows.h"
#include "select_words.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kChunk = 1024;            // tokens; 4 KiB of draws stay in L1
constexpr int64_t kTokensPerThread = 8192;  // about 30 us; waking a thread costs a few

// The ordinary token of the row with the least select word, or -1: which of them it is, is uniform.
template <typename Id>
int64_t least_token(const TokenMask<Id>& p, uint64_t seed, uint64_t row, const bool* special) {
  uint32_t words[kChunk];
  int64_t least = -1;
  uint32_t least_word = 0;
  for (int64_t first = 0; first < p.length; first += kChunk) {
    const int64_t n = std::min(kChunk, p.length - first);
    select_words(seed, Stream::kTokenSelect, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      if (special && special[(first + i) * p.special_stride]) continue;
      if (least < 0 || words[i] < least_word) least = first + i, least_word = words[i];
    }
  }
  return least;
}

template <typename Id>
int64_t mask_row(const TokenMask<Id>& p, uint64_t seed, int64_t r, Id& strayed_id) {
  const uint64_t row = p.row_ids[r];
  const Id* ids = p.ids + r * p.ids_row_stride;
  const bool* special = p.special ? p.special + r * p.special_row_stride : nullptr;
  Id* out = p.masked_ids + r * p.length;
  Id* labels = p.labels + r * p.length;
  int64_t* masked = p.masked + r * p.length;
  int64_t count = 0;
  const auto mask_token = [&](int64_t t) {
    const Words w = philox(seed, Stream::kTokenReplace, row, static_cast<uint32_t>(t));
    labels[t] = out[t];
    out[t] = p.replacement(w.word[0], w.word[1], out[t]);
    masked[count++] = r * p.length + t;
  };
  uint32_t words[kChunk];
  int32_t hits[kChunk];
  Id stray = 0;
  for (int64_t first = 0; first < p.length; first += kChunk) {
    const int64_t n = std::min(kChunk, p.length - first);
    select_words(seed, Stream::kTokenSelect, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      const Id id = ids[(first + i) * p.ids_stride];
      stray = strayed(stray, id, p.last_id);
      out[first + i] = id;
    }
    std::fill_n(labels + first, n, p.ignore_index);
    int64_t found = 0;
    for (int64_t i = 0; i < n; ++i) {  // branch free: which tokens are masked cannot be predicted
      hits[found] = static_cast<int32_t>(i);
      found += words[i] < p.select_threshold;
    }
    for (int64_t h = 0; h < found; ++h) {
      const int64_t t = first + hits[h];
      if (!(special && special[t * p.special_stride])) mask_token(t);
    }
  }
  strayed_id = static_cast<Id>(strayed_id | stray);
  if (p.forced && count == 0) {
    const int64_t t = least_token(p, seed, row, special);
    if (t >= 0) mask_token(t);
  }
  return count;
}

template <typename Id>
void run(const TokenMask<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kTokensPerThread, 1, threads));
  Id stray = 0;
#pragma omp parallel for num_threads(threads) if (threads > 1) reduction(| : stray)
  for (int64_t r = 0; r < p.rows; ++r) p.counts[r] = mask_row(p, seed, r, stray);
  if (stray < 0) refuse_ids("mask_tokens", p);
  pack_rows(p.masked, p.counts, p.rows, p.length);
}

}  // namespace

void token_mask(const TokenMask<int16_t>& p, int threads) { run(p, threads); }
void token_mask(const TokenMask<int32_t>& p, int threads) { run(p, threads); }
void token_mask(const TokenMask<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
