// One row of view parameters, decoded and clipped: whatever the row holds, the crop lies inside the image.
#pragma once

#include "sslfast/image_augment.h"

namespace sslfast::augment {

enum JitterOp : uint32_t { kOpBrightness = 1, kOpContrast, kOpSaturation, kOpHue };

// A list of jitter operations is a word of four-bit numbers, the first operation lowest, ended by 0.
struct View {
  int32_t top, left, height, width;
  bool flip, gray, contrast;
  uint32_t before, after;  // the operations before and after contrast; without contrast all are in `before`
  float brightness_factor, contrast_factor, saturation_factor, saturation_rest;  // rest = 1 - factor
  float hue_turn;                                                                // in sixths of the colour wheel
};

SSLFAST_HD int32_t clip(float value, int64_t low, int64_t high) {
  if (!(value > static_cast<float>(low))) return static_cast<int32_t>(low);  // NaN too
  if (value >= static_cast<float>(high)) return static_cast<int32_t>(high);
  return static_cast<int32_t>(value);
}

// The permutation of (brightness, contrast, saturation, hue) with this lexicographic index.
SSLFAST_HD uint32_t permutation(int32_t index) {
  uint32_t left = kOpBrightness | kOpContrast << 4 | kOpSaturation << 8 | kOpHue << 12, list = 0;
  const int32_t digit[4] = {index / 6, index / 2 % 3, index % 2, 0};
  for (int k = 0; k < 4; ++k) {
    const uint32_t shift = 4u * static_cast<uint32_t>(digit[k]);
    list |= (left >> shift & 15u) << (4 * k);
    left = (left & ((1u << shift) - 1u)) | (left >> shift >> 4 << shift);
  }
  return list;
}

SSLFAST_HD View read_view(const float* params, int64_t height, int64_t width, int64_t channels) {
  View v{};
  v.top = clip(params[kTop], 0, height - 1);
  v.left = clip(params[kLeft], 0, width - 1);
  v.height = clip(params[kHeight], 1, height - v.top);
  v.width = clip(params[kWidth], 1, width - v.left);
  v.flip = params[kFlip] != 0.0f;
  v.gray = params[kGray] != 0.0f && channels == 3;
  v.brightness_factor = params[kBrightness] > 0.0f ? params[kBrightness] : 0.0f;
  v.contrast_factor = params[kContrast] > 0.0f ? params[kContrast] : 0.0f;
  v.saturation_factor = params[kSaturation] > 0.0f ? params[kSaturation] : 0.0f;
  v.saturation_rest = 1.0f - v.saturation_factor;
  v.hue_turn = 6.0f * (params[kHue] > -0.5f ? (params[kHue] < 0.5f ? params[kHue] : 0.5f) : -0.5f);
  if (params[kJitter] == 0.0f) return v;
  uint32_t before_shift = 0, after_shift = 0;
  for (uint32_t list = permutation(clip(params[kOrder], 0, 23)); list; list >>= 4) {
    const uint32_t op = list & 15u;
    if (op == kOpContrast) {
      v.contrast = v.contrast_factor != 1.0f;
    } else if ((op == kOpBrightness && v.brightness_factor != 1.0f) ||
               (op == kOpSaturation && v.saturation_factor != 1.0f && channels == 3) ||
               (op == kOpHue && v.hue_turn != 0.0f && channels == 3)) {
      if (v.contrast) {
        v.after |= op << after_shift;
        after_shift += 4;
      } else {
        v.before |= op << before_shift;
        before_shift += 4;
      }
    }
  }
  return v;
}

}  // namespace sslfast::augment
