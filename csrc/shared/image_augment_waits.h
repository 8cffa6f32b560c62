// Views that wait: how a list of any steps is cut into passes, and what blocks need for them in memory.
#pragma once

#include "image_augment_source.h"

namespace sslfast::augment {

constexpr int32_t kMostStrips = 256;                   // of a view: tiles in a row, whose gray values are summed alone
constexpr int32_t kBlocksEach = 2;                     // blocks that a multiprocessor is to hold
constexpr int64_t kWaitingBytes = int64_t{512} << 20;  // of planes that wait, or of one view if it has more
static_assert(kMaxReach % 4 == 0, "what is rounded up to fours reaches no further");
constexpr int32_t kCounts = 3 * 256, kExtremes = 3 * 2;  // numbers of a view's statistics

// What a list of steps asks of its passes: a first one over the source, and one more for each step that needs the
// whole view before it (contrast, equalize, auto contrast) or the neighbourhood of a pixel (blur, sharpness, affine). A
// blur too wide for shared memory is two, across and down.
struct Waits {
  int32_t passes = 1, planes = 1;              // and buffers of planes, between which steps that move pixels change
  int32_t reach_across = -1, reach_down = -1;  // of blurs in shared memory
  bool statistics = false, counts = false;     // may a step need the whole view; may that be equalize?

  int32_t group_of(int64_t channels) const { return augment::group_of(channels, statistics); }

  // Of shared memory: a channel of a tile with its neighbourhood, and the rows of all, blurred.
  int32_t shared_floats(int32_t channels) const {
    if (reach_across < 0) return 0;
    return (kTile + 2 * reach_down) * (kTile + 2 * quads(reach_across) + channels * kAcross);
  }

  // The most that any list asks for.
  static constexpr int32_t most_shared_floats(int32_t channels) { return kMostSide * (kMostSide + channels * kAcross); }

  // A tile's neighbourhood begins and ends at a multiple of four.
  static SSLFAST_HD int32_t quads(int32_t reach) { return (reach + 3) / 4 * 4; }
};

inline Waits waits_of(const ImageAugment& p) {
  Waits n;
  bool moved = false;  // by a step before
  for (int32_t s = 1; s < p.steps; ++s) {
    const int32_t code = p.step[s].code;
    const bool any = code == kStepChoice;
    const bool whole = any || may_draw_contrast(p.step[s]) || code == kStepAutoContrast || code == kStepEqualize;
    n.statistics |= whole;
    n.counts |= any || code == kStepEqualize;
    int32_t passes = whole || code == kStepSharpness || code == kStepBlur || code == kStepAffine;
    if (code == kStepBlur) {
      const int32_t across = static_cast<int32_t>(p.step[s].setting[0]) / 2;
      const int32_t down = static_cast<int32_t>(p.step[s].setting[1]) / 2;
      if (across > kMaxReach || down > kMaxReach) passes = 2;
      if (across > n.reach_across) n.reach_across = across < kMaxReach ? across : kMaxReach;
      if (down > n.reach_down) n.reach_down = down < kMaxReach ? down : kMaxReach;
    }
    if (passes > 0 && moved) n.planes = 2;
    moved |= any || code == kStepSharpness || code == kStepBlur || code == kStepAffine;
    if (passes == 2) n.planes = 2;
    n.passes += passes;
  }
  return n;
}

// How items (image, view, group of channels) are shared out. Where there are enough, every block makes one after the
// other from the first pass to the last. Of fewer, an item is shared by `parts` blocks, which wait for all others
// between two passes. What waits belongs to a slot: to the block, or to the blocks that share an item.
struct Walk {
  int64_t items, slots;  // slots * parts blocks
  int32_t parts, passes;
  bool counts;                          // does equalize wait, perhaps?
  int32_t across, tiles, strips, each;  // tiles across a view, of a view; its strips and the tiles of each
  int32_t pitch;                        // floats from one waiting row to the next: a multiple of four
  int64_t plane, slot;                  // floats of a plane, and of all planes of an item in one buffer
  int32_t buffers;
  float* planes;  // (buffers, slots)
  // Of shared items, a place for each of three turns: while one is read, the next is written and the third cleared.
  double* sum;     // (kTurns, slots, strips)
  float* extreme;  // (kTurns, slots, parts, kExtremes)
  int32_t* count;  // (kTurns, slots, kCounts)

  SSLFAST_HD bool shared() const { return parts > 1; }
};

constexpr int32_t kTurns = 3;

// On a GPU that holds so many blocks at once, with so much memory for planes.
inline Walk walk_of(const ImageAugment& p, const Waits& list, int64_t blocks, int64_t bytes = kWaitingBytes) {
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const auto parts_of = [](int64_t n, int64_t each) { return (n + each - 1) / each; };
  Walk w{};
  w.passes = list.passes;
  w.counts = list.counts;
  w.across = static_cast<int32_t>(parts_of(p.out_width, kTile));
  const int64_t tiles = w.across * parts_of(p.out_height, kTile);
  w.tiles = static_cast<int32_t>(least(tiles, INT32_MAX));  // of more there are too many pixels for any memory
  w.each = static_cast<int32_t>(parts_of(tiles, kMostStrips));
  w.strips = static_cast<int32_t>(parts_of(tiles, w.each));
  w.pitch = static_cast<int32_t>(parts_of(p.out_width, 4) * 4);
  w.plane = p.out_height * w.pitch;
  const int32_t group = list.group_of(p.channels);
  w.slot = group * w.plane;
  w.buffers = list.planes;
  w.items = items_of(p, group);
  if (blocks < 1) blocks = 1;  // the launch says what it lacks
  const int64_t most = bytes / (w.slot * w.buffers * static_cast<int64_t>(sizeof(float)));
  const int64_t room = least(w.items < 1 ? 1 : w.items, most < 1 ? 1 : most);
  w.slots = least(room, blocks);
  w.parts = 2 * w.slots < blocks ? static_cast<int32_t>(least(w.strips, blocks / w.slots)) : 1;
  return w;
}

// Lays the buffers out from `memory` on, which may be null where only their bytes are asked for; returns those.
inline int64_t lay_out(Walk& w, void* memory) {
  int64_t bytes = 0;
  const auto take = [&](int64_t size) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory) + static_cast<uintptr_t>(bytes);
    bytes += (size + 255) / 256 * 256;
    return reinterpret_cast<void*>(at);
  };
  w.planes = static_cast<float*>(take(w.buffers * w.slots * w.slot * 4));
  if (!w.shared()) return bytes;
  w.sum = static_cast<double*>(take(kTurns * w.slots * w.strips * 8));
  w.extreme = static_cast<float*>(take(kTurns * w.slots * w.parts * kExtremes * 4));
  w.count = static_cast<int32_t*>(take(w.counts ? kTurns * w.slots * kCounts * 4 : 0));
  return bytes;
}

}  // namespace sslfast::augment
