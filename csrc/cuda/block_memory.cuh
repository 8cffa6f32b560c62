// The shared memory of one warp that masks blocks of one row: the grid in bits, then the keys that complete a mask,
// where they fit. At most 36 KiB.
#pragma once

#include "shared/bit_grid.h"
#include "shared/random_subset.h"
#include "sslfast/block_mask.h"

namespace sslfast::cuda {

constexpr int kWarp = 32;

inline bool keys_stored(const BlockRule& rule) { return rule.exact && rule.height * rule.width <= kStoredPairs; }

inline size_t block_bytes(const BlockRule& rule) {
  const int64_t keys = keys_stored(rule) ? (rule.height * rule.width + 3) / 4 * 4 : 0;
  return (rule.height * words_per_line(rule.width) + keys) * sizeof(uint64_t);
}

}  // namespace sslfast::cuda
