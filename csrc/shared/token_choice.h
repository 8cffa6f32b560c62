// What the rules of tokens share: the draws of one step, the choice of tokens, and room for new ones. Draws: word k of
// the tokens' stream belongs to the ordinary token of number k, counter j of the places' stream to swap, span or token
// j, and the row's stream holds what is drawn once.
#pragma once

#include "token_slots.h"

namespace sslfast::token_rules {

constexpr int kStepBits = 26;  // an element: view (3 bits), step (3 bits), counter

SSLFAST_HD uint32_t first_element(int64_t view, int step) {
  return static_cast<uint32_t>(view * kMostTokenSteps + step) << kStepBits;
}

// n * rate, rounded down as exact arithmetic would: of 100 at 0.29 these are 29.
SSLFAST_HD int64_t share(int64_t n, double rate) {
  using namespace portable;
  const double count = static_cast<double>(n);
  return static_cast<int64_t>(add(mul(count, rate), mul(count, 1e-12)));
}

SSLFAST_HD int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

SSLFAST_HD int64_t wanted(const TokenStep& step, int64_t tokens) {
  if (step.count >= 0) return step.count;
  const int64_t found = share(tokens, step.rate);
  return found < step.least ? step.least : found;
}

// One step over one row. Fill(seed, stream, row, element, counters, words, lanes): words of successive counters.
template <typename Id, typename Fill>
struct StepDraws {
  Row<Id>& row;
  const TokenStep& step;
  uint64_t seed, number;  // of the row in the draws
  uint32_t element;

  SSLFAST_HD Words place(int64_t counter) const {
    return philox(seed, Stream::kAugmentPlace, number, element + static_cast<uint32_t>(counter));
  }
  SSLFAST_HD Words of_row() const { return philox(seed, Stream::kAugmentRow, number, element); }
  SSLFAST_HD bool first_lane() const { return row.lanes.first == 0; }

  SSLFAST_HD void draw(Stream stream, int64_t words) const {
    Fill{}(seed, stream, number, element, (words + 3) / 4, row.s.words, row.lanes);
    lane_barrier();
  }

  // Marks `many` of the candidates, every set equally likely; or, where it is negative, each with the step's rate.
  // Returns how many it marked.
  template <typename Candidate>
  SSLFAST_HD int64_t choose(int64_t candidates, int64_t many, Candidate candidate) const {
    if (many == 0 || candidates == 0) return 0;
    draw(Stream::kAugmentToken, row.ordinary);
    Slot* slots = row.s.slots;
    const uint32_t* words = row.s.words;
    if (many < 0) {
      int taken = 0;
      row.each([&](int64_t i, int64_t k) {
        if (words[k] >= step.threshold || !candidate(slots[i])) return;
        slots[i] |= kChosen;
        ++taken;
      });
      return lane_sum(taken);
    }
    if (first_lane()) {
      int64_t left = candidates, open = many, k = 0;
      for (int64_t i = 0; i < row.slots && open > 0; ++i) {
        if (slots[i] & kSpecial) continue;
        const uint32_t word = words[k++];
        if (!candidate(slots[i])) continue;
        if (uniform_below(word, static_cast<uint64_t>(left)) < static_cast<uint64_t>(open)) {
          slots[i] |= kChosen;
          --open;
        }
        --left;
      }
    }
    lane_barrier();
    return many;
  }

  SSLFAST_HD void identity() const {
    for (int64_t k = row.lanes.first; k < row.ordinary; k += row.lanes.step) row.s.order[k] = static_cast<uint32_t>(k);
    lane_barrier();
  }

  // Opens a slot beside every chosen one; make(slot, number) is what fills it, before the slot or behind it.
  template <typename Make>
  SSLFAST_HD void widen(int64_t added, bool before, Make make) const {
    if (added == 0) return;
    if (first_lane()) {
      Slot* slots = row.s.slots;
      int64_t to = row.slots + added, k = row.ordinary;
      for (int64_t i = row.slots - 1; i >= 0 && to > i + 1; --i) {
        const Slot slot = slots[i] & ~kChosen;
        const bool chosen = slots[i] & kChosen;
        k -= !(slot & kSpecial);
        if (chosen && !before) slots[--to] = make(slot, k);
        slots[--to] = slot;
        if (chosen && before) slots[--to] = make(slot, k);
      }
    }
    lane_barrier();
    row.slots += added;
    row.ordinary += added;
  }

  SSLFAST_HD int64_t count_known() const {
    int known = 0;
    row.each([&](int64_t i, int64_t) {
      int64_t first;
      known += row.entries(row.s.slots[i], first) > 0;
    });
    return lane_sum(known);
  }

  SSLFAST_HD Slot entry(Slot slot, uint32_t word, Slot flags) const {
    int64_t first = 0;
    const int64_t size = row.entries(slot, first);
    const uint64_t what = kFirstEntry + static_cast<uint64_t>(first) + uniform_below(word, static_cast<uint64_t>(size));
    return what << 32 | (slot & kPlace) | flags;
  }
};

}  // namespace sslfast::token_rules
