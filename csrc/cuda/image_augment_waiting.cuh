// What views leave in scratch memory between two passes of image_augment_passes.cu, and how much of it a chunk of views
// takes.
#pragma once

#include "image_augment_passes.cuh"
#include "image_augment_tile.cuh"

namespace sslfast::cuda {

constexpr int kMaxPasses = kMaxSteps + 1;
constexpr int64_t kChunkBytes = int64_t{256} << 20;

// A view, and the operation with which each of its passes begins: `count` of the view from the pass on that it is
// finished before.
struct Plan {
  augment::View view;
  int32_t first[kMaxPasses + 1];
};

// What waits for the next pass: two buffers of planes and two of statistics, written by turns.
struct Waiting {
  Plan* plans;  // (views)
  float* planes[2];
  double* gray[2];       // (views, tiles)
  float2* range[2];      // (views, channels, tiles): least and largest value
  int32_t* count[2];     // (views, channels, 256)
  int64_t first, views;  // of this chunk
  int32_t tiles_across, tiles;
};

// What a list of steps needs beyond one pass.
struct Needs {
  int32_t passes = 1, reach_across = -1, reach_down = -1;
  bool contrast = false, range = false, counts = false;
};

inline Needs needs_of(const ImageAugment& p) {
  Needs n;
  for (int32_t s = 1; s < p.steps; ++s) {
    const int32_t code = p.step[s].code;
    const bool any = code == kStepChoice;
    n.contrast |= any || code == kStepColorJitter;
    n.range |= any || code == kStepAutoContrast;
    n.counts |= any || code == kStepEqualize;
    if (code == kStepBlur) {
      const int32_t across = static_cast<int32_t>(p.step[s].setting[0]) / 2;
      const int32_t down = static_cast<int32_t>(p.step[s].setting[1]) / 2;
      if (across > n.reach_across) n.reach_across = across < kMaxReach ? across : kMaxReach;
      if (down > n.reach_down) n.reach_down = down < kMaxReach ? down : kMaxReach;
    }
    n.passes += any || code == kStepColorJitter || code == kStepAutoContrast || code == kStepEqualize ||
                code == kStepSharpness || code == kStepBlur || code == kStepAffine;
  }
  return n;
}

inline int64_t tiles_across(const ImageAugment& p) { return (p.out_width + kTile - 1) / kTile; }
inline int64_t tiles_of(const ImageAugment& p) { return tiles_across(p) * ((p.out_height + kTall - 1) / kTall); }

// Lays the buffers of a chunk of `views` out from `memory` on; returns their bytes.
inline int64_t lay_out(const ImageAugment& p, const Needs& needs, int64_t views, char* memory, Waiting* w) {
  int64_t bytes = 0;
  const auto take = [&](int64_t size) {
    char* at = memory + bytes;
    bytes += (size + 255) / 256 * 256;
    return static_cast<void*>(at);
  };
  w->plans = static_cast<Plan*>(take(views * static_cast<int64_t>(sizeof(Plan))));
  const int64_t tiles = tiles_of(p);
  const int64_t planes = views * p.channels, groups = p.channels == 3 ? views : planes;
  for (int k = 0; k < 2; ++k) {
    if (k < needs.passes - 1) {
      w->planes[k] = static_cast<float*>(take(planes * p.out_height * p.out_width * 4));
    }
    if (needs.contrast) w->gray[k] = static_cast<double*>(take(groups * tiles * 8));
    if (needs.range) w->range[k] = static_cast<float2*>(take(planes * tiles * 8));
    if (needs.counts) w->count[k] = static_cast<int32_t*>(take(planes * 256 * 4));
  }
  return bytes;
}

inline int64_t chunk_views(const ImageAugment& p, const Needs& needs) {
  Waiting unused{};
  const int64_t views = p.rows * p.views, one = lay_out(p, needs, 1, nullptr, &unused);
  if (views == 0) return 1;
  const int64_t many = kChunkBytes / one;
  return many < 1 ? 1 : many < views ? many : views;
}

}  // namespace sslfast::cuda
