// Pixels of a view that waits, four in a row, as they are or blurred, sharpened or moved by an affine map. They were
// written in the same launch, so no cache that is not coherent may hold them.
#pragma once

#include "image_augment_neighbours.h"
#include "image_augment_source.h"
#include "image_augment_waits.h"

namespace sslfast::augment {

SSLFAST_HD bool is_near(Reach reach) { return reach.across <= kMaxReach && reach.down <= kMaxReach; }

template <typename Memory, int kChannels, typename Team>
struct Moved {
  const float* planes;
  int64_t plane;
  int32_t pitch, height, width;
  const Op& op;
  const BlurWeights& weight;
  float* around;  // of a near blur: a channel of the tile with its neighbourhood, then the rows of all, blurred
  const Team team;

  // All lanes, before the first tile; a barrier follows.
  SSLFAST_HD void weigh(BlurWeights& to) const {
    if (op.code != kOpBlur || !is_near(reach_of(op))) return;
    const Reach reach = reach_of(op);
    if (team.lane == 0) gaussian(op.a, reach.across, to.across);
    if (team.lane == team.lanes - 1) gaussian(op.a, reach.down, to.down);
  }

  // All lanes, before they read from the tile.
  SSLFAST_HD void place(int32_t top, int32_t left) const {
    if (op.code != kOpBlur || !is_near(reach_of(op))) return;
    const Reach reach = reach_of(op);
    const int32_t margin = Waits::quads(reach.across), side = kTile + 2 * margin, tall = kTile + 2 * reach.down;
    for (int32_t c = 0; c < kChannels; ++c) {
      const float* from = planes + c * plane;
      team.barrier();
      for (int32_t i = team.lane; i < side / 4 * tall; i += team.lanes) {
        const int32_t y = reflected(top + i / (side / 4) - reach.down, height), x = left + i % (side / 4) * 4 - margin;
        const float* row = from + int64_t{y} * pitch;
        float four[4];
        if (x >= 0 && x + 4 <= width) {
          Memory::four(row + x, four);
        } else {
          for (int32_t k = 0; k < 4; ++k) four[k] = row[reflected(x + k, width)];
        }
        Memory::put_four(around + 4 * i, four);
      }
      team.barrier();
      float* across = rows() + c * tall * kAcross;
      for (int32_t i = team.lane; i < tall * kTile; i += team.lanes) {
        across[i / kTile * kAcross + i % kTile] =
            weighed(around + i / kTile * side + i % kTile + margin, 1, weight.across, reach.across);
      }
    }
    team.barrier();
  }

  // Four pixels of row y of the tile from x on, channel by channel.
  SSLFAST_HD void read(int32_t top, int32_t left, int32_t y, int32_t x, float* value) const {
    if (op.code == kOpBlur) {
      const Reach reach = reach_of(op);
      if (!is_near(reach)) return blur_wide(top + y, left + x, reach, value);
      const int32_t tall = kTile + 2 * reach.down;
      for (int32_t c = 0; c < kChannels; ++c) {
        const float* middle = rows() + (c * tall + y + reach.down) * kAcross + x;
        for (int32_t k = 0; k < kRun; ++k) {
          value[c * kRun + k] = weighed(middle + k, kAcross, weight.down, reach.down);
        }
      }
    } else if (op.code == kOpSharpness) {
      for (int32_t c = 0; c < kChannels; ++c) sharpen(planes + c * plane, top + y, left + x, value + c * kRun);
    } else {
      for (int32_t k = 0; k < kRun; ++k) {
        const AffineTaps taps = affine_taps(op, height, width, pitch, top + y, left + x + k);
        for (int32_t c = 0; c < kChannels; ++c) value[c * kRun + k] = taps.of(planes + c * plane, op.fill[c]);
      }
    }
  }

  SSLFAST_HD void read_as_it_is(int32_t y, int32_t x, float* value) const {
    const float* at = planes + int64_t{y} * pitch + x;
    for (int32_t c = 0; c < kChannels; ++c) Memory::four(at + c * plane, value + c * kRun);
  }

 private:
  SSLFAST_HD float* rows() const {
    const Reach reach = reach_of(op);
    return around + (kTile + 2 * Waits::quads(reach.across)) * (kTile + 2 * reach.down);
  }

  // Across or down, the other reach being 0.
  SSLFAST_HD void blur_wide(int32_t y, int32_t x, Reach reach, float* value) const {
    const int32_t wide = reach.across > reach.down ? reach.across : reach.down;
    float weights = 0.0f;
    for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] = 0.0f;
    for (int32_t d = -wide; d <= wide; ++d) {
      const auto distance = static_cast<float>(d);
      const float w = expf(-0.5f * distance * distance / (op.a * op.a));
      weights += w;
      const int32_t line = reach.down > 0 ? reflected(y + d, height) : y;
      for (int32_t c = 0; c < kChannels; ++c) {
        const float* row = planes + c * plane + int64_t{line} * pitch;
        float four[kRun];
        if (reach.down > 0) {
          Memory::four(row + x, four);
        } else {
          for (int32_t k = 0; k < kRun; ++k) four[k] = row[reflected(x + k + d, width)];
        }
        for (int32_t k = 0; k < kRun; ++k) value[c * kRun + k] += w * four[k];
      }
    }
    for (int32_t i = 0; i < kChannels * kRun; ++i) value[i] /= weights;
  }

  // Blended with their average over 3 x 3, the middle one five times; the frame stays, and so does what is no number.
  SSLFAST_HD void sharpen(const float* from, int32_t y, int32_t x, float* value) const {
    const float* middle = from + int64_t{y} * pitch + x;
    Memory::four(middle, value);
    if (y == 0 || y == height - 1) return;
    float around[3][kRun + 2];
    for (int32_t r = 0; r < 3; ++r) {
      const float* row = middle + (r - 1) * int64_t{pitch};
      Memory::four(row, around[r] + 1);
      around[r][0] = x > 0 ? row[-1] : 0.0f;
      around[r][kRun + 1] = x + kRun < width ? row[kRun] : 0.0f;
    }
    for (int32_t k = 0; k < kRun; ++k) {
      if (x + k == 0 || x + k >= width - 1) continue;
      const float old = value[k];
      float sum = 4.0f * old;
      for (int32_t r = 0; r < 3; ++r) {
        for (int32_t i = k; i < k + 3; ++i) sum += around[r][i];
      }
      const float mixed = old + (1.0f - op.a) * (sum * (1.0f / 13.0f) - old);
      value[k] = is_number(mixed) ? saturate(mixed) : NAN;
    }
  }
};

}  // namespace sslfast::augment
