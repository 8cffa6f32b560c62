// What the columns and rows of a tile take from the source, kept for the lanes of a block, and a blur's weights.
#pragma once

#include <cmath>

#include "image_augment_colour.h"
#include "image_augment_taps.h"

namespace sslfast::augment {

constexpr int32_t kThreads = 256;       // of a block
constexpr int32_t kTile = 32;           // outputs across and down
constexpr int32_t kAcross = kTile + 1;  // floats from one blurred row to the next: rows begin in banks of their own
constexpr int32_t kRun = 4;             // outputs in a row that a lane makes together
constexpr int32_t kMaxReach = 20;       // of a blur whose tile is in shared memory
constexpr int32_t kMostSide = kTile + 2 * kMaxReach;
constexpr int32_t kKeptTaps = 16;  // whose weights are kept; those of more are worked out anew
constexpr float kLargestFloat = 3.4028234e38f;

SSLFAST_HD bool is_number(float x) { return absolute(x) <= kLargestFloat; }

// Channels that a block makes together: three are a pixel's colours, and fours are for the sake of reads and stores, as
// many as there are in RGBA, unless a step needs the whole view: each channel would have statistics of its own.
SSLFAST_HD int32_t group_of(int64_t channels, bool statistics) {
  return channels == 3 ? 3 : channels % 4 == 0 && !statistics ? 4 : 1;
}

// Items (image, view, group of channels) with groups of so many.
SSLFAST_HD int64_t items_of(const ImageAugment& p, int32_t group) { return p.rows * p.views * (p.channels / group); }

// The taps of one output along one axis, and what their weights are multiplied by; none outside the axis.
struct Taps {
  int32_t index, first, count;
  float share;
};

SSLFAST_HD Taps taps_of(const Axis& axis, int64_t wanted, int32_t padding, float scale) {
  if (padding != kConstant) wanted = padded_place(wanted, axis.target, padding);
  if (wanted < 0 || wanted >= axis.target) return {0, 0, 0, 0.0f};
  Taps t{static_cast<int32_t>(wanted), axis.first(static_cast<int32_t>(wanted)), axis.taps, 0.0f};
  float sum = 0.0f;
  for (int32_t k = 0; k < t.count; ++k) sum += axis.weight(t.index, t.first + k);
  t.share = scale / sum;
  // What has no weight is not read: where nothing is resized, that leaves one tap.
  while (t.count > 1 && axis.weight(t.index, t.first) == 0.0f) ++t.first, --t.count;
  while (t.count > 1 && axis.weight(t.index, t.first + t.count - 1) == 0.0f) --t.count;
  return t;
}

// Columns or rows of a tile and of what lies around it.
struct TileAxis {
  Taps taps[kMostSide];
  float weight[kKeptTaps * kMostSide];  // tap by tap

  // With `fours`, one tap short of four is one more of no weight, if the source goes that far.
  SSLFAST_HD void set(int32_t i, const Axis& axis, int64_t wanted, int32_t padding, float scale, bool fours) {
    Taps t = taps_of(axis, wanted, padding, scale);
    if (t.count <= kKeptTaps) {
      for (int32_t k = 0; k < t.count; ++k) {
        weight[k * kMostSide + i] = axis.weight(t.index, t.first + k) * t.share;
      }
      if (fours && t.count % 4 == 3 && t.first + t.count < axis.source) weight[t.count++ * kMostSide + i] = 0.0f;
    }
    taps[i] = t;
  }
};

SSLFAST_HD int32_t reflected(int32_t i, int32_t n) {
  if (i >= 0 && i < n) return i;
  if (n == 1) return 0;
  const int32_t period = 2 * n - 2;
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

// How far a blur reaches across and down, and its weights, from the middle on, if that is at most kMaxReach.
struct Reach {
  int32_t across, down;
};
struct BlurWeights {
  float across[kMaxReach + 1], down[kMaxReach + 1];
};

SSLFAST_HD Reach reach_of(const Op& blur) {
  const float sigmas = ceilf(4.5f * blur.a);
  const int32_t wide = sigmas < 65536.0f ? static_cast<int32_t>(sigmas) : 65536;
  const int32_t across = static_cast<int32_t>(blur.b) / 2, down = static_cast<int32_t>(blur.c) / 2;
  return {wide < across ? wide : across, wide < down ? wide : down};
}

SSLFAST_HD void gaussian(float sigma, int32_t reach, float* weight) {
  float sum = -1.0f;
  for (int32_t k = 0; k <= reach; ++k) {
    weight[k] = expf(-0.5f * static_cast<float>(k * k) / (sigma * sigma));
    sum += 2.0f * weight[k];
  }
  for (int32_t k = 0; k <= reach; ++k) weight[k] /= sum;
}

// A blurred value from those on both sides of the middle one, `step` floats apart.
SSLFAST_HD float weighed(const float* middle, int32_t step, const float* weight, int32_t reach) {
  float sum = weight[0] * middle[0];
  for (int32_t k = 1; k <= reach; ++k) sum += weight[k] * (middle[-k * step] + middle[k * step]);
  return sum;
}

}  // namespace sslfast::augment
