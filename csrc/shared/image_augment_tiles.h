// Which lists of steps image_augment_block.h can make, and how their views are shared out among blocks.
#pragma once

#include "image_augment_source.h"

namespace sslfast::augment {

// Rows of a tile and its neighbourhood: of up to three channels a blur of 25 x 25 has all at once.
constexpr int32_t kRowsAtOnce = 56, kRowsAtOnceOfFour = 32;

// Floats of shared memory for a blur: rows of the tile with its neighbourhood, and all of its rows blurred across. Of
// the widest blur all rows at once would be more than a block may have on chips of compute capability 8.6, 8.9 and 12.
SSLFAST_HD constexpr int32_t rows_at_once(int32_t channels, int32_t tall) {
  const int32_t most = channels == 4 ? kRowsAtOnceOfFour : kRowsAtOnce;
  return tall < most ? tall : most;
}
SSLFAST_HD constexpr int32_t blur_floats(int32_t channels, int32_t reach_across, int32_t reach_down) {
  const int32_t side = kTile + 2 * reach_across, tall = kTile + 2 * reach_down;
  return channels * (rows_at_once(channels, tall) * side + tall * kAcross);
}

// Whether a list of steps can be made whole, and what that takes.
struct Whole {
  bool possible = true, contrast = false;
  int32_t reach_across = -1, reach_down = -1;  // of its blur

  int32_t group_of(int64_t channels) const { return augment::group_of(channels, contrast); }

  // Of shared memory.
  int32_t shared_floats(int32_t channels) const {
    return reach_across < 0 ? 0 : blur_floats(channels, reach_across, reach_down);
  }

  // The most that any list asks for.
  static constexpr int32_t most_shared_floats(int32_t channels) { return blur_floats(channels, kMaxReach, kMaxReach); }
};

inline Whole whole_of(const ImageAugment& p) {
  Whole w;
  for (int32_t s = 1; s < p.steps; ++s) {
    const Step& step = p.step[s];
    const bool blurred = w.reach_across >= 0;
    if (may_draw_contrast(step)) {
      w.possible &= !w.contrast && !blurred;
      w.contrast = true;
    } else if (step.code == kStepBlur) {
      w.possible &= !blurred && step.setting[0] <= 2 * kMaxReach + 1 && step.setting[1] <= 2 * kMaxReach + 1;
      w.reach_across = static_cast<int32_t>(step.setting[0]) / 2;
      w.reach_down = static_cast<int32_t>(step.setting[1]) / 2;
    } else {
      w.possible &= step.code == kStepColorJitter || step.code == kStepGrayscale || step.code == kStepSolarize ||
                    step.code == kStepPosterize || step.code == kStepInvert;
    }
  }
  return w;
}

// The tiles of a view, and how many of them a block makes.
struct Tiles {
  int32_t across, count;  // of a view
  int32_t each;           // of a block, neighbours
  int32_t blocks;         // of a view
};

inline int64_t tiles_of_view(const ImageAugment& p) {
  return (p.out_width + kTile - 1) / kTile * ((p.out_height + kTile - 1) / kTile);
}

inline Tiles tiles_of_block(const ImageAugment& p, int64_t items, int64_t many_blocks) {
  constexpr int64_t kMostTiles = 16;
  const int64_t count = tiles_of_view(p), each = items * count / many_blocks;
  Tiles t{};
  t.across = static_cast<int32_t>((p.out_width + kTile - 1) / kTile);
  t.count = static_cast<int32_t>(count);
  t.each = static_cast<int32_t>(each < 1 ? 1 : each > kMostTiles ? kMostTiles : each);
  t.blocks = (t.count + t.each - 1) / t.each;
  return t;
}

}  // namespace sslfast::augment
