// What the operations that need more than a pixel share: affine maps, and the table of equalize.
#pragma once

#include "image_augment_view.h"

namespace sslfast::augment {

// The pixels of a plane that an affine map takes for one pixel: grid_sample's. Where `at` is negative, none.
struct AffineTaps {
  int64_t at[4];
  float weight[4];
  int32_t count;
  bool filled;

  // At the border torchvision's blend: with a fill what is inside is weighed twice. One pixel alone is exact: masks
  // hold classes.
  SSLFAST_HD float of(const float* plane, float fill) const {
    if (count == 1) return at[0] < 0 ? fill : plane[at[0]];
    float sum = 0.0f, inside = 0.0f;
    for (int32_t k = 0; k < count; ++k) {
      if (at[k] < 0) continue;
      sum += weight[k] * plane[at[k]];
      inside += weight[k];
    }
    return filled ? (sum - fill) * inside + fill : sum;
  }
};

SSLFAST_HD int64_t inside(double x, double y, int64_t height, int64_t width, int64_t pitch) {
  if (!(x >= 0.0 && x <= static_cast<double>(width - 1) && y >= 0.0 && y <= static_cast<double>(height - 1))) return -1;
  return static_cast<int64_t>(y) * pitch + static_cast<int64_t>(x);
}

// Of pixel (y, x) of a view whose rows lie `pitch` apart. Halves are rounded to even. Places are doubles: those of
// floats are 1e-4 of a pixel off in an image of 1024, and so is what lies between two pixels of noise.
SSLFAST_HD AffineTaps affine_taps(const Op& op, int64_t height, int64_t width, int64_t pitch, int64_t y, int64_t x) {
  const double middle_x = 0.5 * static_cast<double>(width) - 0.5, middle_y = 0.5 * static_cast<double>(height) - 0.5;
  const double from_x = static_cast<double>(x) - middle_x, from_y = static_cast<double>(y) - middle_y;
  const double source_x = op.map[0] * from_x + op.map[1] * from_y + op.map[2] + middle_x;
  const double source_y = op.map[3] * from_x + op.map[4] * from_y + op.map[5] + middle_y;
  AffineTaps taps;
  taps.filled = op.filled;
  if (!op.bilinear) {
    taps.count = 1;
    taps.weight[0] = 1.0f;
    taps.at[0] = inside(rint(source_x), rint(source_y), height, width, pitch);
    return taps;
  }
  const double left = floor(source_x), top = floor(source_y);
  const auto right_share = static_cast<float>(source_x - left), bottom_share = static_cast<float>(source_y - top);
  taps.count = 4;
  for (int32_t k = 0; k < 4; ++k) {
    const bool right = (k & 1) != 0, bottom = (k & 2) != 0;
    taps.at[k] = inside(left + (right ? 1.0 : 0.0), top + (bottom ? 1.0 : 0.0), height, width, pitch);
    taps.weight[k] = (right ? right_share : 1.0f - right_share) * (bottom ? bottom_share : 1.0f - bottom_share);
  }
  return taps;
}

// Equalize of one channel, from how many of its `pixels` have each byte: Pillow's, of values in [0, 1]. A step is a
// 255th of the pixels that are not of the last byte there is.
template <typename Count>
SSLFAST_HD int64_t equalize_step(const Count* count, int64_t pixels) {
  int32_t last = 255;
  while (last > 0 && count[last] == 0) --last;
  return (pixels - count[last]) / 255;
}

// What byte k becomes, with so many pixels of lesser bytes.
SSLFAST_HD float equalized(int64_t lesser, int64_t step, int32_t k) {
  if (step == 0) return static_cast<float>(k) / 255.0f;
  const int64_t value = (step / 2 + lesser) / step;
  return static_cast<float>(value < 255 ? value : 255) / 255.0f;
}

}  // namespace sslfast::augment
