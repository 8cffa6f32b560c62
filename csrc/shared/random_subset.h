// A uniformly random subset of a given size: the candidates with the smallest (Philox word, index). Found as an upper
// bound of these pairs, bit by bit: no sorting, no working memory beyond the keys, and the same answer for any number
// of lanes. Candidate i draws word i % 4 of counter first + i / 4.
#pragma once

#include "lanes.h"

namespace sslfast {

constexpr int64_t kStoredPairs = 4096;  // as many fit into a GPU block's memory; beyond, keys are drawn again
constexpr uint64_t kNoCandidate = ~uint64_t{0};

struct SubsetDraw {
  uint64_t seed;
  uint32_t stream;
  uint64_t row;
  uint32_t first;
};

SSLFAST_HD uint64_t subset_pair(const Words& w, int64_t i) {
  uint32_t key = w.word[0];  // an index would go through memory
  key = i % 4 == 1 ? w.word[1] : key;
  key = i % 4 == 2 ? w.word[2] : key;
  key = i % 4 == 3 ? w.word[3] : key;
  return static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(i);
}

// The pairs of n items, drawn where they are asked for.
template <typename Candidate>
struct DrawnPairs {
  SubsetDraw draw;
  Candidate candidate;  // (i) -> bool

  SSLFAST_HD uint64_t operator()(int64_t i) const {
    const Words w = philox(draw.seed, draw.stream, draw.row, draw.first + static_cast<uint32_t>(i / 4));
    return candidate(i) ? subset_pair(w, i) : kNoCandidate;
  }
};

struct StoredPairs {
  const uint64_t* pair;

  SSLFAST_HD uint64_t operator()(int64_t i) const { return pair[i]; }
};

// Items i with pairs(i) below the result are the `wanted` smallest; there are at least so many candidates.
template <typename Pairs>
SSLFAST_HD uint64_t subset_bound(const Pairs& pairs, int64_t n, int64_t wanted, Lanes lanes) {
  if (wanted == 0) return 0;
  uint64_t bound = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t trial = bound | uint64_t{1} << bit;
    int below = 0;
    for (int64_t i = lanes.first; i < n; i += lanes.step) below += pairs(i) < trial;
    below = lane_sum(below);
    if (below == wanted) return trial;
    if (below < wanted) bound = trial;
  }
  return bound + 1;
}

// Fills `memory` (n, rounded up to whole counters) with the pairs of a row.
template <typename Candidate>
SSLFAST_HD StoredPairs store_pairs(const DrawnPairs<Candidate>& pairs, uint64_t* memory, int64_t n, Lanes lanes) {
  const SubsetDraw& d = pairs.draw;
  for (int64_t counter = lanes.first; counter < (n + 3) / 4; counter += lanes.step) {
    const Words w = philox(d.seed, d.stream, d.row, d.first + static_cast<uint32_t>(counter));
    for (int k = 0; k < 4; ++k) {
      const int64_t i = 4 * counter + k;
      const uint64_t pair = static_cast<uint64_t>(w.word[k]) << 32 | static_cast<uint64_t>(i);
      memory[i] = i < n && pairs.candidate(i) ? pair : kNoCandidate;
    }
  }
  lane_barrier();
  return {memory};
}

}  // namespace sslfast
