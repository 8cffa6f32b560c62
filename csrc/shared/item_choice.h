// Which of a row's items are masked, item by item in their order.
#pragma once

#include "portable_double.h"
#include "sslfast/item_mask.h"

namespace sslfast::items {

// What one row decides: the last item alone, or so many of all, or each by itself.
struct Choice {
  int64_t items, wanted;  // still to come; wanted: exact, or negative
  int64_t only;           // the one item that is masked, or negative
  uint64_t threshold;

  // Of item `number`, with its word.
  SSLFAST_HD bool take(int64_t number, uint32_t word) {
    if (only >= 0) return number == only;
    if (wanted < 0) return word < threshold;
    const bool taken = uniform_below(word, static_cast<uint64_t>(items)) < wanted;
    --items;
    wanted -= taken;
    return taken;
  }
};

template <typename Id>
SSLFAST_HD Choice choice(const ItemMask<Id>& p, int64_t items, const Words& row_words) {
  Choice c{items, -1, -1, p.select_threshold};
  if (items > 0 && row_words.word[0] < p.last_threshold) {
    c.only = items - 1;
  } else if (p.exact) {
    const double exact = portable::mul(static_cast<double>(items), p.mask_ratio);
    c.wanted = static_cast<int64_t>(portable::round_half_even(exact));
    if (c.wanted < 1 && p.at_least_one) c.wanted = items > 0;
    if (c.wanted > items) c.wanted = items;
  }
  return c;
}

// The item that is masked where none was.
SSLFAST_HD int64_t spare_item(int64_t items, const Words& row_words) {
  return uniform_below(row_words.word[1], static_cast<uint64_t>(items));
}

}  // namespace sslfast::items
