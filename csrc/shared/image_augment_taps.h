// Weights of resizing in one direction, those of PIL and torchvision. Output i of `target` averages the pixels j of
// `source` by a filter centred on (i + 1/2) source / target; with antialiasing the filter is as wide as an output where
// that is wider than a pixel. Distances are integers, in units of 1 / (2 target) of a pixel.
#pragma once

#include "sslfast/image_augment.h"

namespace sslfast::augment {

// The padding that a fill stands for.
SSLFAST_HD int32_t padding_of(float fill) { return fill < 0.0f ? static_cast<int32_t>(-fill) : kConstant; }

// Which of n outputs stands at place i, outside [0, n) too: reflected as often as it takes.
SSLFAST_HD int64_t padded_place(int64_t i, int64_t n, int32_t padding) {
  if (i >= 0 && i < n) return i;
  if (padding == kEdge || n == 1) return i < 0 ? 0 : n - 1;
  const int64_t period = padding == kReflect ? 2 * n - 2 : 2 * n;
  i = ((i % period) + period) % period;
  return i < n ? i : (padding == kReflect ? period : period - 1) - i;
}

struct Axis {
  int32_t source, target, filter;
  int32_t unit;      // the distance that is one pixel of the filter
  int32_t taps;      // every output takes this many; the weights of some may be 0
  float sharpness;   // of the cubic filter: -1/2 with antialiasing, -3/4 without (PIL, torch)
  bool repeat_edge;  // what lies outside counts as the edge, else it does not count

  SSLFAST_HD Axis(int64_t source_size, int64_t target_size, int32_t interpolation, bool antialias)
      : source(static_cast<int32_t>(source_size)),
        target(static_cast<int32_t>(target_size)),
        filter(interpolation),
        unit(2 * (antialias && source > target ? source : target)),
        sharpness(antialias ? -0.5f : -0.75f),
        repeat_edge(filter == kBicubic && !antialias) {
    const int64_t wide = reach() / target + (reach() % target != 0);
    taps = filter == kNearest ? 1 : wide < source ? static_cast<int32_t>(wide) : source;
  }

  SSLFAST_HD int64_t reach() const { return filter == kBicubic ? 2 * int64_t{unit} : unit; }

  // The first tap of output i.
  SSLFAST_HD int32_t first(int32_t i) const {
    if (filter == kNearest) {
      // In float, as torch has it: where the exact place is a whole number, that may be the pixel before.
      const float step = static_cast<float>(source) / static_cast<float>(target);
      const auto pixel = static_cast<int32_t>(static_cast<float>(i) * step);
      return pixel < source - 1 ? pixel : source - 1;
    }
    const int64_t numerator = (2 * int64_t{i} + 1) * source - reach() + target;
    if (numerator <= 0) return 0;
    const int64_t tap = numerator / (2 * int64_t{target});
    return static_cast<int32_t>(tap < source - taps ? tap : source - taps);
  }

  // Distance of pixel j from the centre of output i; the next pixel's is 2 * target more.
  SSLFAST_HD int64_t distance(int32_t i, int32_t j) const {
    return (2 * int64_t{j} + 1) * target - (2 * int64_t{i} + 1) * source;
  }

  // The filter's height, in a scale of its own: the weights of an output are to be divided by their sum.
  SSLFAST_HD float height(int64_t distance) const {
    const int64_t d = distance < 0 ? -distance : distance;
    if (filter == kBilinear) return d < unit ? static_cast<float>(unit - d) : 0.0f;
    if (filter == kNearest) return 1.0f;
    const float t = static_cast<float>(d) / static_cast<float>(unit);
    if (t < 1.0f) return ((sharpness + 2.0f) * t - (sharpness + 3.0f)) * t * t + 1.0f;
    if (t < 2.0f) return ((sharpness * t - 5.0f * sharpness) * t + 8.0f * sharpness) * t - 4.0f * sharpness;
    return 0.0f;
  }

  // The weight of pixel j of output i.
  SSLFAST_HD float weight(int32_t i, int32_t j) const {
    const int64_t d = distance(i, j), step = 2 * int64_t{target};
    float sum = height(d);
    if (!repeat_edge) return sum;
    for (int k = 1; j == 0 && k <= 3; ++k) sum += height(d - k * step);
    for (int k = 1; j == source - 1 && k <= 3; ++k) sum += height(d + k * step);
    return sum;
  }
};

}  // namespace sslfast::augment
