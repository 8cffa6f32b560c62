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
  bool all_but = false;  // `only` is the one item that is not masked

  // Of item `number`, with its word.
  SSLFAST_HD bool take(int64_t number, uint32_t word) {
    if (only >= 0) return (number == only) != all_but;
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
    if (c.wanted > items) c.wanted = items;
    if (p.at_least_one) {  // and one that is kept, where there are two
      if (c.wanted >= items && items > 1) c.wanted = items - 1;
      if (c.wanted < 1) c.wanted = items > 0;
    }
  }
  return c;
}

// Whether the items of a row, each decided by itself, left nothing masked or nothing to predict it from.
template <typename Id>
SSLFAST_HD bool needs_spare(const ItemMask<Id>& p, int64_t items, int64_t taken) {
  return p.at_least_one && items > 0 && (taken == 0 || (taken == items && items > 1));
}

// Then one random item is masked, or one is kept.
SSLFAST_HD Choice spare_item(int64_t items, int64_t taken, const Words& row_words) {
  return {items, -1, uniform_below(row_words.word[1], static_cast<uint64_t>(items)), 0, taken > 0};
}

}  // namespace sslfast::items
