// The tokens of one row while rules work on it: one number a token, which says where it comes from and what took its
// place. Rules move, remove, double and rename slots; ids are looked up when the row is written.
#pragma once

#include "lanes.h"
#include "portable_double.h"
#include "sslfast/token_augment.h"

namespace sslfast::token_rules {

// The upper half says what stands here; of the lower half the last 26 bits are the token's place in its row.
using Slot = uint64_t;
constexpr Slot kSpecial = Slot{1} << 31;  // no rule touches it
constexpr Slot kChosen = Slot{1} << 30;   // by the step that runs
constexpr Slot kNew = Slot{1} << 29;      // comes from nowhere
constexpr Slot kPlace = (Slot{1} << 26) - 1;
enum : uint64_t { kItself = 0, kMaskId = 1, kHole = 2, kFirstEntry = 3 };  // kFirstEntry + i: entry i of the table

// Arrays of a row's out_length, rounded up to whole counters.
struct Scratch {
  Slot *slots, *other;
  uint32_t *words, *order;

  SSLFAST_HD Scratch(uint8_t* memory, int64_t out_length) {
    const int64_t n = (out_length + 3) / 4 * 4;
    slots = reinterpret_cast<Slot*>(memory);
    other = slots + n;
    words = reinterpret_cast<uint32_t*>(other + n);
    order = words + n;
  }
};

// The number of lanes before this one whose flag is set, and of all.
#ifdef __CUDA_ARCH__
SSLFAST_HD int lane_rank(bool flag, Lanes lanes, int& total) {
  const unsigned all = __ballot_sync(0xFFFFFFFFu, flag);
  total = __popc(all);
  return __popc(all & ((1u << lanes.first) - 1u));
}
#else
SSLFAST_HD int lane_rank(bool flag, Lanes, int& total) {
  total = flag;
  return 0;
}
#endif

template <typename Id>
struct Row {
  const TokenAugment<Id>& p;
  Scratch s;
  Lanes lanes;
  int64_t r;             // in the batch
  int64_t slots = 0;     // tokens
  int64_t ordinary = 0;  // of them those that rules may touch

  SSLFAST_HD Row(const TokenAugment<Id>& params, uint8_t* memory, Lanes all, int64_t number)
      : p(params), s(memory, params.out_length), lanes(all), r(number) {}

  SSLFAST_HD bool present(int64_t t, Id id) const {
    if (p.present) return p.present[r * p.present_row_stride + t * p.present_stride];
    if (!p.lengths) return id != p.pad_id;
    return p.left ? t >= p.length - p.lengths[r] : t < p.lengths[r];
  }

  SSLFAST_HD bool special(int64_t t, Id id) const {
    bool found = p.special && p.special[r * p.special_row_stride + t * p.special_stride];
    for (int32_t i = 0; i < p.special_ids; ++i) found |= id == p.special_id[i];
    return found;
  }

  SSLFAST_HD void read() {
    int64_t count = 0;
    int of_them = 0;
    for (int64_t base = 0; base < p.length; base += lanes.step) {
      const int64_t t = base + lanes.first;
      const Id id = t < p.length ? p.ids[r * p.row_stride + t * p.stride] : p.pad_id;
      const bool here = t < p.length && present(t, id);
      const bool fixed = here && special(t, id);
      int total;
      const int before = lane_rank(here, lanes, total);
      if (here) s.slots[count + before] = static_cast<Slot>(t) | (fixed ? kSpecial : 0);
      count += total;
      of_them += here && !fixed;
    }
    lane_barrier();
    slots = count;
    ordinary = lane_sum(of_them);
  }

  // visit(place, number among the ordinary ones) for every ordinary slot, by the lane that it falls to.
  template <typename Visit>
  SSLFAST_HD void each(Visit visit) {
    int64_t number = 0;
    for (int64_t base = 0; base < slots; base += lanes.step) {
      const int64_t i = base + lanes.first;
      const bool mine = i < slots && !(s.slots[i] & kSpecial);
      int total;
      const int before = lane_rank(mine, lanes, total);
      if (mine) visit(i, number + before);
      number += total;
    }
    lane_barrier();
  }

  // Special slots stay, ordinary ones where stays(slot, number) says so; the rest closes up.
  template <typename Stays>
  SSLFAST_HD void keep(Stays stays) {
    int64_t number = 0, kept = 0;
    for (int64_t base = 0; base < slots; base += lanes.step) {
      const int64_t i = base + lanes.first;
      const Slot slot = i < slots ? s.slots[i] : kSpecial;
      const bool free = !(slot & kSpecial);
      int total, staying;
      const int before = lane_rank(free, lanes, total);
      const bool here = i < slots && (!free || stays(slot, number + before));
      const int place = lane_rank(here, lanes, staying);
      lane_barrier();  // slots are read before others are written over them
      if (here) s.slots[kept + place] = slot;
      number += total;
      kept += staying;
      lane_barrier();
    }
    ordinary -= slots - kept;
    slots = kept;
  }

  // Moves the ordinary slots: number q becomes what order[q] was.
  SSLFAST_HD void arrange() {
    each([&](int64_t i, int64_t number) { s.other[number] = s.slots[i]; });
    each([&](int64_t i, int64_t number) { s.slots[i] = s.other[s.order[number]]; });
  }

  SSLFAST_HD Id id_of(Slot slot) const {
    const uint64_t what = slot >> 32;
    if (what == kItself) return p.ids[r * p.row_stride + static_cast<int64_t>(slot & kPlace) * p.stride];
    if (what >= kFirstEntry) return static_cast<Id>(p.table_ids[what - kFirstEntry]);
    return what == kMaskId ? p.mask_id : p.pad_id;
  }

  // The entries of the table for what stands in a slot: how many, and the first.
  SSLFAST_HD int64_t entries(Slot slot, int64_t& first) const {
    const Id id = id_of(slot);
    if (id < 0 || id >= p.table_rows) return 0;
    const int64_t begin = p.table_offsets[id], end = p.table_offsets[id + 1];
    first = begin;
    return begin < 0 || end > p.table_entries || end < begin ? 0 : end - begin;
  }

  // Writes the row of the outputs that begins at `at`.
  SSLFAST_HD void write(int64_t at) const {
    const int64_t shift = p.left ? p.out_length - slots : 0;
    for (int64_t t = lanes.first; t < p.out_length; t += lanes.step) {
      const int64_t i = t - shift;
      const bool here = i >= 0 && i < slots && s.slots[i] >> 32 != kHole;
      p.out[at + t] = here ? id_of(s.slots[i]) : p.pad_id;
      p.mask[at + t] = here;
      if (p.positions)
        p.positions[at + t] = here && !(s.slots[i] & kNew) ? static_cast<int64_t>(s.slots[i] & kPlace) : -1;
    }
  }
};

}  // namespace sslfast::token_rules
