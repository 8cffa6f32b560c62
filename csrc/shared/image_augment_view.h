// One row of view parameters, decoded and clipped: whatever the row holds, the box lies inside the image, and
// operations that change nothing are gone.
#pragma once

#include "portable_double.h"
#include "sslfast/image_augment.h"

namespace sslfast::augment {

enum OpCode : int32_t {
  kOpBrightness,
  kOpContrast,
  kOpSaturation,
  kOpHue,
  kOpGray,
  kOpSolarize,
  kOpPosterize,
  kOpInvert,
  kOpClamp,    // to [0, 1]: what a cubic filter overshoots
  kOpStretch,  // of every channel by a factor and an offset: what auto contrast becomes
  kOpTable,    // of every channel through 256 values: what equalize becomes
  kOpAutoContrast,
  kOpEqualize,
  kOpSharpness,
  kOpBlur,
  kOpAffine,
};

// Contrast, auto contrast and equalize need the whole view before them; sharpness, blur and affine the neighbourhood of
// a pixel. Whatever else there is works on pixels alone, some of it on every channel alike.
SSLFAST_HD bool works_on_pixels(int32_t code) { return code <= kOpTable && code != kOpContrast; }
SSLFAST_HD bool works_on_channels(int32_t code) {
  return code == kOpBrightness || (code >= kOpSolarize && code <= kOpClamp);
}
SSLFAST_HD bool moves_pixels(int32_t code) { return code >= kOpSharpness; }

struct Op {
  int32_t code;
  float a, b, c;       // blur: sigma, and the kernel's width and height
  double map[6];       // affine: source = (m0 x + m1 y + m2, m3 x + m4 y + m5), of pixel centres from the view's centre
  float fill[4];       // of what an affine map takes from outside, channel by channel once they are known
  bool bilinear;       // between four pixels; else the nearest
  bool filled;         // what comes from between a border pixel and the outside is blended with the fill
  const float* table;  // stretch: factor and offset of each channel; table: 256 of each
};

constexpr int32_t kMaxOps = 48;

struct View {
  int32_t top, left, height, width;        // of the box, inside the image
  int32_t target_height, target_width;     // to which it is resized
  int32_t offset_top, offset_left;         // of the view in that
  bool flip_left_right, flip_upside_down;  // that view, before the operations
  bool colour;                             // else saturation, hue and gray do nothing
  bool poisoned;                           // the row asks for a contrast where none is drawn: all of it is NaN
  int32_t count;
  Op op[kMaxOps];

  SSLFAST_HD void add(int32_t code, float a, float b = 0.0f) {
    Op& o = op[count++];
    o = Op{};
    o.code = code;
    o.a = a;
    o.b = b;
  }
};

SSLFAST_HD int32_t clip(float value, int64_t low, int64_t high) {
  if (!(value > static_cast<float>(low))) return static_cast<int32_t>(low);  // NaN too
  if (value >= static_cast<float>(high)) return static_cast<int32_t>(high);
  return static_cast<int32_t>(value);
}

constexpr float kLargestFactor = 1e6f;

SSLFAST_HD float limit(float value, float low, float high) {
  return value > low ? (value < high ? value : high) : low;  // NaN is low
}

// Factors from 0 on; 1 changes nothing.
SSLFAST_HD void add_factor(View& v, int32_t code, float factor) {
  factor = limit(factor, 0.0f, kLargestFactor);
  if (code == kOpSaturation && !v.colour) return;
  if (factor != 1.0f) v.add(code, factor, 1.0f - factor);
}

SSLFAST_HD void add_hue(View& v, float turns) {
  turns = limit(turns, -0.5f, 0.5f);
  if (turns != 0.0f && v.colour) v.add(kOpHue, 6.0f * turns);  // in sixths of the colour wheel
}

SSLFAST_HD void add_posterize(View& v, float bits) {
  const float levels = static_cast<float>(1 << clip(bits, 0, 8));
  v.add(kOpPosterize, levels, 1.0f / levels);
}

// A value that rounding left just below the threshold counts as on it: an image of one level, resampled, is that level
// but for some units in the last place.
constexpr float kSolarizeSlack = 1.0f / 262144.0f;

SSLFAST_HD void add_solarize(View& v, float threshold) { v.add(kOpSolarize, threshold - kSolarizeSlack); }

// The permutation of (brightness, contrast, saturation, hue) with this lexicographic index, four bits each.
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

SSLFAST_HD void add_map(View& v, double a, double b, double c, double d, double e, double f) {
  v.add(kOpAffine, 0.0f);
  double* map = v.op[v.count - 1].map;
  map[0] = a, map[1] = b, map[2] = c, map[3] = d, map[4] = e, map[5] = f;
}

// Rotation, scale and shear in degrees about a centre, then a translation, as torchvision's affine: the matrix from a
// view's pixel to where it comes from.
SSLFAST_HD void add_affine(View& v, double angle, double move_x, double move_y, double scale, double shear_x,
                           double shear_y, double centre_x, double centre_y) {
  using namespace portable;
  constexpr double kRadians = 0.017453292519943295;
  const double turn = mul(angle, kRadians), x = mul(shear_x, kRadians), y = mul(shear_y, kRadians);
  const double cosine_y = cosine(y), tangent_x = div(sine(x), cosine(x));
  const double a = div(cosine(sub(turn, y)), cosine_y), c = div(sine(sub(turn, y)), cosine_y);
  const double b = -add(mul(a, tangent_x), sine(turn)), d = sub(cosine(turn), mul(c, tangent_x));
  const double m[4] = {div(d, scale), div(-b, scale), div(-c, scale), div(a, scale)};
  const double to_x = add(centre_x, move_x), to_y = add(centre_y, move_y);
  add_map(v, m[0], m[1], sub(centre_x, add(mul(m[0], to_x), mul(m[1], to_y))), m[2], m[3],
          sub(centre_y, add(mul(m[2], to_x), mul(m[3], to_y))));
}

SSLFAST_HD void add_choice(View& v, int32_t choice, float magnitude, double out_height, double out_width) {
  const double m = magnitude == magnitude ? magnitude : 0.0;
  const double corner_x = -0.5 * out_width, corner_y = -0.5 * out_height;
  switch (choice) {
    case kChoiceShearX:  // by the tangent, about the corner
      return add_map(v, 1.0, m, -m * corner_y, 0.0, 1.0, 0.0);
    case kChoiceShearY:
      return add_map(v, 1.0, 0.0, 0.0, m, 1.0, -m * corner_x);
    case kChoiceTranslateX:
      return add_affine(v, 0.0, m, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0);
    case kChoiceTranslateY:
      return add_affine(v, 0.0, 0.0, m, 1.0, 0.0, 0.0, 0.0, 0.0);
    case kChoiceRotate:
      return add_affine(v, -m, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0);
    case kChoiceBrightness:
      return add_factor(v, kOpBrightness, 1.0f + magnitude);
    case kChoiceColor:
      return add_factor(v, kOpSaturation, 1.0f + magnitude);
    case kChoiceContrast:
      return add_factor(v, kOpContrast, 1.0f + magnitude);
    case kChoiceSharpness:
      return add_factor(v, kOpSharpness, 1.0f + magnitude);
    case kChoicePosterize:
      return add_posterize(v, magnitude);
    case kChoiceSolarize:
      return add_solarize(v, magnitude);
    case kChoiceAutoContrast:
      return v.add(kOpAutoContrast, 0.0f);
    case kChoiceEqualize:
      return v.add(kOpEqualize, 0.0f);
    default:
      return;
  }
}

SSLFAST_HD void read_resample(const float* column, int64_t height, int64_t width, View& v) {
  constexpr int64_t kSide = 1 << 24;
  v.top = clip(column[kTop], 0, height - 1);
  v.left = clip(column[kLeft], 0, width - 1);
  v.height = clip(column[kHeight], 1, height - v.top);
  v.width = clip(column[kWidth], 1, width - v.left);
  v.target_height = clip(column[kTargetHeight], 1, kSide);
  v.target_width = clip(column[kTargetWidth], 1, kSide);
  v.offset_top = clip(column[kOffsetTop], -kSide, kSide);
  v.offset_left = clip(column[kOffsetLeft], -kSide, kSide);
  v.flip_left_right = column[kFlipLeftRight] != 0.0f;
  v.flip_upside_down = column[kFlipUpsideDown] != 0.0f;
}

// Of one step. A list of at most kMaxSteps steps has at most kMaxOps operations: Python sees to it.
SSLFAST_HD void read_step(const ImageAugment& p, const Step& step, const float* column, View& v) {
  const int32_t code = step.code;
  if (code == kStepChoice) {
    return add_choice(v, clip(column[0], 0, kChoiceCodes - 1), column[1], static_cast<double>(p.out_height),
                      static_cast<double>(p.out_width));
  }
  if (column[0] == 0.0f) return;
  switch (code) {
    case kStepColorJitter:
      for (uint32_t list = permutation(clip(column[1], 0, 23)), k = 0; k < 4; ++k, list >>= 4) {
        const int32_t op = static_cast<int32_t>(list & 15u);
        if (op == kOpContrast && !may_draw_contrast(step)) {
          v.poisoned = v.poisoned || column[2 + op] != 1.0f;
        } else {
          op == kOpHue ? add_hue(v, column[2 + op]) : add_factor(v, op, column[2 + op]);
        }
      }
      return;
    case kStepGrayscale:
      if (v.colour) v.add(kOpGray, 0.0f);
      return;
    case kStepSolarize:
      return add_solarize(v, column[1]);
    case kStepPosterize:
      return add_posterize(v, column[1]);
    case kStepInvert:
      return v.add(kOpInvert, 0.0f);
    case kStepAutoContrast:
      return v.add(kOpAutoContrast, 0.0f);
    case kStepEqualize:
      return v.add(kOpEqualize, 0.0f);
    case kStepSharpness:
      return add_factor(v, kOpSharpness, column[1]);
    case kStepBlur:
      if (column[1] > 0.0f) v.add(kOpBlur, column[1]);
      return;
    case kStepAffine: {
      const bool corner = column[7] != 0.0f;
      const float scale = column[4] > 1e-6f ? column[4] : 1e-6f;
      return add_affine(v, column[1], column[2], column[3], scale, column[5], column[6],
                        corner ? -0.5 * static_cast<double>(p.out_width) : 0.0,
                        corner ? -0.5 * static_cast<double>(p.out_height) : 0.0);
    }
    default:
      return;
  }
}

SSLFAST_HD void read_view(const ImageAugment& p, const float* params, const Image& image, View& v) {
  v.count = 0;
  v.colour = p.channels == 3;
  v.poisoned = false;
  read_resample(params, image.height, image.width, v);
  params += step_columns(kStepResample);
  if (p.step[0].setting[0] == static_cast<float>(kBicubic)) v.add(kOpClamp, 0.0f);
  for (int32_t s = 1; s < p.steps; ++s) {
    const int32_t first = v.count;
    read_step(p, p.step[s], params, v);
    for (int32_t k = first; k < v.count; ++k) {
      Op& op = v.op[k];
      if (op.code == kOpBlur) {
        op.b = p.step[s].setting[0];
        op.c = p.step[s].setting[1];
      }
      if (op.code == kOpAffine) {
        op.bilinear = p.step[s].setting[0] == static_cast<float>(kBilinear);
        const float fill = p.step[s].setting[1];
        op.filled = fill >= 0.0f;
        for (float& channel : op.fill) channel = op.filled ? fill : 0.0f;
      }
    }
    params += step_columns(p.step[s].code);
  }
}

// Of so many channels from `first` on; those behind them are as the first.
SSLFAST_HD void set_fills(const ImageAugment& p, int64_t first, int64_t channels, Op& op) {
  if (op.code != kOpAffine || op.fill[0] < kListed) return;
  const float list = op.fill[0];
  for (int64_t c = 0; c < 4; ++c) op.fill[c] = p.fill_of(list, first + (c < channels ? c : 0));
}

SSLFAST_HD void set_fills(const ImageAugment& p, int64_t first, int64_t channels, View& v) {
  for (int32_t k = 0; k < v.count; ++k) set_fills(p, first, channels, v.op[k]);
}

}  // namespace sslfast::augment
