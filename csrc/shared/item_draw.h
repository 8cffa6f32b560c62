// One item for a row: from two words, whose first is enough where all items are alike.
#pragma once

#include "sslfast/philox.h"

namespace sslfast {

constexpr int kItemsPerCounter = 2;

// Item j has the draws from thresholds[j - 1] up to below thresholds[j], of the 2^62 there are. The first threshold
// above the draw is found by bisection; the last one is 2^62.
SSLFAST_HD int32_t draw_item(const Words& words, int which, const int64_t* thresholds, int64_t items) {
  const uint32_t first = words.word[2 * which], second = words.word[2 * which + 1];
  if (!thresholds) return static_cast<int32_t>(uniform_below(first, static_cast<uint64_t>(items)));
  const int64_t draw = static_cast<int64_t>((static_cast<uint64_t>(first) << 32 | second) >> 2);
  int64_t low = 0;
  for (int64_t high = items - 1; low < high;) {
    const int64_t middle = (low + high) / 2;
    if (thresholds[middle] > draw) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return static_cast<int32_t>(low);
}

}  // namespace sslfast
