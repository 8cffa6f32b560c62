// From the bits of a row's list to numbers.
#pragma once

#include "bit_grid.h"
#include "random_subset.h"
#include "sslfast/jepa_mask.h"

namespace sslfast::jepa {

// The size of a list: the shortest or longest of the batch, at most `most`.
SSLFAST_HD int64_t list_size(const JepaLists& p, int64_t list, Lanes lanes) {
  const int64_t rows = p.together ? p.lists * p.rows : p.rows;
  if (rows == 0) return 0;
  const int64_t* counts = p.counts + (p.together ? 0 : list * p.rows);
  int size = static_cast<int>(counts[0]);
  for (int64_t i = lanes.first; i < rows; i += lanes.step) {
    const int count = static_cast<int>(counts[i]);
    size = (p.truncate ? count < size : count > size) ? count : size;
  }
  size = p.truncate ? lane_min(size) : lane_max(size);
  return list == 0 && p.most > 0 && size > p.most ? p.most : size;
}

struct Everything {
  SSLFAST_HD bool operator()(int64_t) const { return true; }
};

// `kept`: the bits whose number among the set ones is below the bound. A lane counts the words before its own.
template <typename Pairs>
SSLFAST_HD void keep_bits(const uint64_t* bits, uint64_t* kept, int64_t words, const Pairs& pairs, uint64_t bound,
                          Lanes lanes) {
  int64_t counted = 0, number = 0;
  for (int64_t i = lanes.first; i < words; i += lanes.step) {
    for (; counted < i; ++counted) number += count_bits(bits[counted]);
    int64_t mine = number;
    uint64_t chosen = 0;
    for (uint64_t rest = bits[i]; rest; rest &= rest - 1, ++mine) {
      if (pairs(mine) < bound) chosen |= rest & -rest;
    }
    kept[i] = chosen;
  }
  lane_barrier();
}

// `memory`: the patches, rounded up to whole counters, or null.
SSLFAST_HD void write_list(const JepaLists& p, uint64_t seed, int64_t list, int64_t r, int64_t size, uint64_t* memory,
                           Lanes lanes) {
  const int64_t line_words = words_per_line(p.width), words = p.lines * line_words;
  const int64_t row = list * p.rows + r;
  const uint64_t* bits = p.bits + row * words;
  const int64_t count = p.counts[row], wanted = count < size ? count : size;
  if (p.exact && wanted < count) {
    uint64_t* kept = p.bits + (p.lists * p.rows + row) * words;
    const uint32_t first = static_cast<uint32_t>(list * ((p.lines * p.width + 3) / 4));
    const DrawnPairs<Everything> pairs{{seed, static_cast<uint32_t>(p.keep), p.row_ids[r], first}, {}};
    if (memory) {
      const StoredPairs stored = store_pairs(pairs, memory, count, lanes);
      keep_bits(bits, kept, words, stored, subset_bound(stored, count, wanted, lanes), lanes);
    } else {
      keep_bits(bits, kept, words, pairs, subset_bound(pairs, count, wanted, lanes), lanes);
    }
    bits = kept;
  }
  int64_t* out = p.indices + row * p.capacity;
  int64_t counted = 0, number = 0;
  for (int64_t i = lanes.first; i < words; i += lanes.step) {
    for (; counted < i; ++counted) number += count_bits(bits[counted]);
    const int64_t patch = i / line_words * p.width + i % line_words * 64;
    int64_t mine = number;
    for (uint64_t rest = bits[i]; rest && mine < wanted; rest &= rest - 1) out[mine++] = patch + lowest_bit(rest);
  }
  for (int64_t i = wanted + lanes.first; i < p.capacity; i += lanes.step) out[i] = -1;
}

}  // namespace sslfast::jepa
