// The rules, one function each, over the slots of one row; lanes share the row, and what has to go in order is done by
// the first of them.
#pragma once

#include "token_choice.h"

namespace sslfast::token_rules {

template <typename Id, typename Fill>
struct Step : StepDraws<Id, Fill> {
  using Draws = StepDraws<Id, Fill>;
  using Draws::choose, Draws::count_known, Draws::draw, Draws::entry, Draws::first_lane, Draws::identity, Draws::of_row;
  using Draws::place, Draws::row, Draws::step, Draws::widen;

  // Never all of them.
  SSLFAST_HD void drop() const {
    if (row.ordinary == 0) return;
    const auto any = [](Slot) { return true; };
    const int64_t many = step.exact ? at_most(wanted(step, row.ordinary), row.ordinary - 1) : -1;
    if (choose(row.ordinary, many, any) == row.ordinary) {
      const int64_t spare = uniform_below(of_row().word[0], static_cast<uint64_t>(row.ordinary));
      row.each([&](int64_t i, int64_t k) {
        if (k == spare) row.s.slots[i] &= ~kChosen;
      });
    }
    if (step.high == 0) return row.keep([](Slot slot, int64_t) { return !(slot & kChosen); });
    int holes = 0;
    row.each([&](int64_t i, int64_t) {
      if (!(row.s.slots[i] & kChosen)) return;
      row.s.slots[i] = (kHole << 32) | kSpecial | (row.s.slots[i] & kPlace);
      ++holes;
    });
    row.ordinary -= lane_sum(holes);
  }

  SSLFAST_HD void swap() const {
    if (row.ordinary < 2) return;
    identity();
    if (first_lane()) {
      uint32_t* order = row.s.order;
      const int64_t swaps = wanted(step, row.ordinary);
      for (int64_t j = 0; j < swaps; ++j) {
        const Words w = place(j);
        const uint32_t a = uniform_below(w.word[0], static_cast<uint64_t>(row.ordinary));
        uint32_t b = uniform_below(w.word[1], static_cast<uint64_t>(row.ordinary - 1));
        b += b >= a;
        const uint32_t moved = order[a];
        order[a] = order[b];
        order[b] = moved;
      }
    }
    lane_barrier();
    row.arrange();
  }

  SSLFAST_HD void repeat() const {
    int64_t most = at_most(wanted(step, row.ordinary), row.p.out_length - row.slots);
    most = at_most(most, row.ordinary);
    if (most <= 0) return;
    const int64_t many = step.count >= 0 ? most : uniform_below(of_row().word[0], static_cast<uint64_t>(most) + 1);
    widen(choose(row.ordinary, many, [](Slot) { return true; }), false, [](Slot slot, int64_t) { return slot; });
  }

  SSLFAST_HD void replace() const {
    const int64_t known = count_known();
    const int64_t many = step.exact ? at_most(wanted(step, row.ordinary), known) : -1;
    const auto candidate = [&](Slot slot) {
      int64_t first;
      return row.entries(slot, first) > 0;
    };
    if (choose(known, many, candidate) == 0) return;
    row.each([&](int64_t i, int64_t k) {
      const Slot slot = row.s.slots[i];
      if (slot & kChosen) row.s.slots[i] = entry(slot, place(k).word[0], slot & kNew);
    });
  }

  SSLFAST_HD void insert() const {
    const int64_t known = count_known();
    int64_t many = at_most(wanted(step, row.ordinary), row.p.out_length - row.slots);
    many = known == 0 ? 0 : at_most(many, row.ordinary);
    if (many <= 0) return;
    int64_t listed = 0;
    for (int64_t base = 0; base < row.slots; base += row.lanes.step) {
      const int64_t i = base + row.lanes.first;
      int64_t first;
      const bool found = i < row.slots && !(row.s.slots[i] & kSpecial) && row.entries(row.s.slots[i], first) > 0;
      int total;
      const int before = lane_rank(found, row.lanes, total);
      if (found) row.s.other[listed + before] = row.s.slots[i];
      listed += total;
    }
    lane_barrier();
    widen(choose(row.ordinary, many, [](Slot) { return true; }), true, [&](Slot, int64_t k) {
      const Words w = place(k);
      return entry(row.s.other[uniform_below(w.word[0], static_cast<uint64_t>(known))], w.word[1], kNew);
    });
  }

  // Spans of low to high tokens, the last as long as the row allows, in a random order: each new span takes the place
  // of a random one before it, which goes to the end.
  SSLFAST_HD void shuffle_spans() const {
    if (first_lane()) {
      uint32_t* spans = row.s.words;  // start, and in the upper 6 bits the length less one
      uint32_t count = 0;
      for (int64_t begin = 0, length = 0; begin < row.ordinary; begin += length, ++count) {
        const Words w = place(count);
        length = step.low + uniform_below(w.word[0], static_cast<uint64_t>(step.high - step.low) + 1);
        length = at_most(length, row.ordinary - begin);
        const uint32_t other = uniform_below(w.word[1], uint64_t{count} + 1);
        spans[count] = spans[other];
        spans[other] = static_cast<uint32_t>(begin) | static_cast<uint32_t>(length - 1) << kStepBits;
      }
      uint32_t* to = row.s.order;
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t begin = spans[i] & static_cast<uint32_t>(kPlace), length = (spans[i] >> kStepBits) + 1;
        for (uint32_t t = begin; t < begin + length; ++t) *to++ = t;
      }
    }
    lane_barrier();
    row.arrange();
  }

  // By the keys number + U[0, window + 1), which move no token further than the window: its place is where the window
  // before it begins, and one on for each lesser key of those within reach.
  SSLFAST_HD void shuffle_window() const {
    draw(Stream::kAugmentToken, row.ordinary);
    const uint32_t* words = row.s.words;
    const int64_t reach = at_most(step.high, row.ordinary);
    const uint64_t width = static_cast<uint64_t>(step.high) + 1;
    for (int64_t k = row.lanes.first; k < row.ordinary; k += row.lanes.step) {
      const int64_t low = k < reach ? 0 : k - reach, high = at_most(k + reach, row.ordinary - 1);
      const uint64_t key = (static_cast<uint64_t>(k) << 32) + words[k] * width;
      int64_t rank = low;
      for (int64_t j = low; j < k; ++j) rank += (static_cast<uint64_t>(j) << 32) + words[j] * width <= key;
      for (int64_t j = k + 1; j <= high; ++j) rank += (static_cast<uint64_t>(j) << 32) + words[j] * width < key;
      row.s.order[rank] = static_cast<uint32_t>(k);
    }
    lane_barrier();
    row.arrange();
  }

  SSLFAST_HD void crop() const {
    if (row.ordinary == 0) return;
    const int64_t stay = at_most(wanted(step, row.ordinary), row.ordinary);
    const int64_t start = uniform_below(of_row().word[0], static_cast<uint64_t>(row.ordinary - stay) + 1);
    row.keep([&](Slot, int64_t k) { return start <= k && k < start + stay; });
  }

  SSLFAST_HD void reorder() const {
    const int64_t moved = at_most(wanted(step, row.ordinary), row.ordinary);
    if (moved < 2) return;
    const int64_t start = uniform_below(of_row().word[0], static_cast<uint64_t>(row.ordinary - moved) + 1);
    draw(Stream::kAugmentPlace, moved);
    identity();
    if (first_lane()) {
      uint32_t* order = row.s.order + start;
      for (int64_t k = 1; k < moved; ++k) {
        const uint32_t other = uniform_below(row.s.words[k], static_cast<uint64_t>(k) + 1);
        const uint32_t mine = order[k];
        order[k] = order[other];
        order[other] = mine;
      }
    }
    lane_barrier();
    row.arrange();
  }

  SSLFAST_HD void mask() const {
    const int64_t many = step.exact ? at_most(wanted(step, row.ordinary), row.ordinary) : -1;
    if (choose(row.ordinary, many, [](Slot) { return true; }) == 0) return;
    row.each([&](int64_t i, int64_t) {
      const Slot slot = row.s.slots[i];
      if (slot & kChosen) row.s.slots[i] = (kMaskId << 32) | (slot & (kPlace | kNew));
    });
  }

  SSLFAST_HD void run() const {
    switch (step.rule) {
      case TokenRule::kDrop:
        return drop();
      case TokenRule::kSwap:
        return swap();
      case TokenRule::kRepeat:
        return repeat();
      case TokenRule::kReplace:
        return replace();
      case TokenRule::kInsert:
        return insert();
      case TokenRule::kShuffleSpans:
        return shuffle_spans();
      case TokenRule::kShuffleWindow:
        return shuffle_window();
      case TokenRule::kCrop:
        return crop();
      case TokenRule::kReorder:
        return reorder();
      case TokenRule::kMask:
        return mask();
    }
  }
};

// The only step that a row of a view goes through, or -1 for all.
template <typename Id>
SSLFAST_HD int64_t only_step(const TokenAugment<Id>& p, uint64_t seed, uint64_t number, int64_t view) {
  if (p.choice == TokenChoice::kAll) return -1;
  const auto word = [&](int64_t of) { return philox(seed, Stream::kAugmentRow, number, first_element(of, 0)).word[3]; };
  const auto steps = static_cast<uint64_t>(p.steps);
  if (p.choice == TokenChoice::kOne || view == 0) return uniform_below(word(view), steps);
  return (uniform_below(word(0), steps) + 1 + uniform_below(word(view), steps - 1)) % p.steps;
}

template <typename Fill, typename Id>
SSLFAST_HD void augment_row(const TokenAugment<Id>& p, uint64_t seed, int64_t r, int64_t view, uint8_t* memory,
                            Lanes lanes) {
  const uint64_t number = p.row_ids[r];
  Row<Id> row(p, memory, lanes, r);
  row.read();
  const int64_t only = only_step(p, seed, number, view);
  for (int i = 0; i < p.steps; ++i) {
    if (only >= 0 && only != i) continue;
    Step<Id, Fill>{{row, p.step[i], seed, number, first_element(view, i)}}.run();
  }
  row.write((view * p.rows + r) * p.out_length);
}

}  // namespace sslfast::token_rules
