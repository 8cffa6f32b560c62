// The parameters of one augmented view from counter-based draws: the distributions of torchvision's transforms, with
// the same bits on CPU and GPU: everything is an integer compare or portable double arithmetic.
// sslfast/reference/image_augment.py repeats the formulae.
//
// Rules of a step, in this order, as the operator takes them (p: probability; low and high of a uniform draw):
//   resample       kind, view height and width, p of flipping left-right and upside down, then eight numbers:
//     kind 0       random resized crop: scale low, high, ratio low, high, their logarithms low, high, 0, 0
//     kind 1       resize (ResizeRule), its two numbers, placement of the view, padding left, top, right, bottom
//   color jitter   p, then low, high of brightness, contrast, saturation, hue
//   solarize       p, threshold      posterize   p, bits
//   sharpness      p, low, high      blur        p, low, high
//   affine         p, then low, high of angle, shift x, shift y (shares of the view), scale, shear x, shear y; Pivot,
//                  and where that is a point, its x and y
//   choice         first and last bin, bins, operations; then of each code, low, high, SignRule
//   others         p
#pragma once

#include "portable_double.h"
#include "random_erase_sample.h"
#include "sslfast/image_augment.h"

namespace sslfast::sample {

using namespace portable;

enum ResampleKind { kRandomResizedCrop, kResizeAndCrop };
enum ResizeRule { kKeepSize, kShorterSide, kExactSize };  // shorter side: its size, and the most of the longer or 0
enum Placement { kCentre, kAnywhere };
enum Pivot { kAboutCentre, kAboutCorner, kAboutPoint };
enum SignRule { kAsItIs, kSigned, kSignedShare };  // a share of the view's side, of translations

SSLFAST_HD int64_t rule_count(int32_t code, const double* rule) {
  switch (code) {
    case kStepResample:
      return 13;
    case kStepColorJitter:
      return 9;
    case kStepSolarize:
    case kStepPosterize:
      return 2;
    case kStepSharpness:
    case kStepBlur:
      return 3;
    case kStepAffine:
      return 16;
    case kStepChoice:
      return 4 + 4 * static_cast<int64_t>(rule[3]);
    default:
      return 1;
  }
}

// The draws of one step of one view.
struct Draws {
  uint64_t seed, row;
  uint32_t element;

  SSLFAST_HD Words block(uint32_t k) const { return philox(seed, Stream::kImageAugment, row, element + k); }
};

struct Size {
  int64_t height, width;
};

SSLFAST_HD double uniform(uint32_t word, double low, double high) {
  return add(low, mul(sub(high, low), mul(word, 1.0 / 4294967296.0)));
}

SSLFAST_HD float happens(uint32_t word, double p) {
  return static_cast<double>(word) < mul(p, 4294967296.0) ? 1.0f : 0.0f;
}

SSLFAST_HD void set_box(float* out, int64_t top, int64_t left, int64_t height, int64_t width) {
  out[kTop] = static_cast<float>(top);
  out[kLeft] = static_cast<float>(left);
  out[kHeight] = static_cast<float>(height);
  out[kWidth] = static_cast<float>(width);
}

// RandomResizedCrop.make_params: ten tries, then a central crop with the nearest allowed aspect ratio.
SSLFAST_HD void random_box(const Draws& draws, const double* rule, Size image, float* out) {
  const double height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  for (uint32_t attempt = 0; attempt < kCropTries; ++attempt) {
    const Words w = draws.block(attempt);
    const double area = mul(mul(height, width), uniform(w.word[0], rule[0], rule[1]));
    const double ratio = exponential(uniform(w.word[1], rule[4], rule[5]));
    const double across = round_half_even(square_root(mul(area, ratio)));
    const double down = round_half_even(square_root(div(area, ratio)));
    if (across >= 1 && across <= width && down >= 1 && down <= height) {
      const int64_t h = static_cast<int64_t>(down), v = static_cast<int64_t>(across);
      return set_box(out, uniform_below(w.word[2], static_cast<uint64_t>(image.height - h + 1)),
                     uniform_below(w.word[3], static_cast<uint64_t>(image.width - v + 1)), h, v);
    }
  }
  const double ratio = div(width, height);
  const double down = ratio < rule[2] ? round_half_even(div(width, rule[2])) : height;
  const double across = ratio > rule[3] ? round_half_even(mul(height, rule[3])) : width;
  const int64_t h = down < 1 ? 1 : static_cast<int64_t>(down), v = across < 1 ? 1 : static_cast<int64_t>(across);
  set_box(out, (image.height - h) / 2, (image.width - v) / 2, h, v);
}

// To what Resize brings an image: the longer side is rounded down, as torchvision's.
SSLFAST_HD Size resized(const double* rule, Size image) {
  const int64_t first = static_cast<int64_t>(rule[1]), second = static_cast<int64_t>(rule[2]);
  const int32_t how = static_cast<int32_t>(rule[0]);
  if (how == kKeepSize) return image;
  if (how == kExactSize) return {first, second};
  const bool tall = image.height > image.width;
  const int64_t shorter = tall ? image.width : image.height, longer = tall ? image.height : image.width;
  int64_t a = first, b = first * longer / shorter;
  if (second > 0 && b > second) {
    a = second * a / b;
    b = second;
  }
  if (a < 1) a = 1;
  return tall ? Size{b, a} : Size{a, b};
}

// Where a view lies in a length: in its middle, where halves of a pixel are rounded to even, or anywhere.
SSLFAST_HD int64_t placed(int32_t placement, uint32_t word, int64_t length, int64_t view) {
  const int64_t room = length - view;
  if (placement == kAnywhere) {  // a view larger than the length: that lies anywhere in it
    const int64_t place = uniform_below(word, static_cast<uint64_t>((room < 0 ? -room : room) + 1));
    return room < 0 ? place + room : place;
  }
  if (room < 0) return -(-room / 2);
  const int64_t half = room / 2;
  return room % 2 == 0 ? half : half + half % 2;
}

SSLFAST_HD void sample_resample(const Draws& draws, const double* rule, Size image, float* out) {
  const Words w = draws.block(kFlipBlock);
  const int64_t view_height = static_cast<int64_t>(rule[1]), view_width = static_cast<int64_t>(rule[2]);
  out[kTargetHeight] = static_cast<float>(view_height);
  out[kTargetWidth] = static_cast<float>(view_width);
  out[kOffsetTop] = out[kOffsetLeft] = 0.0f;
  out[kFlipLeftRight] = happens(w.word[0], rule[3]);
  out[kFlipUpsideDown] = happens(w.word[1], rule[4]);
  const double* numbers = rule + 5;
  if (static_cast<int32_t>(rule[0]) == kRandomResizedCrop) return random_box(draws, numbers, image, out);
  const Size target = resized(numbers, image);
  set_box(out, 0, 0, image.height, image.width);
  out[kTargetHeight] = static_cast<float>(target.height);
  out[kTargetWidth] = static_cast<float>(target.width);
  const int32_t placement = static_cast<int32_t>(numbers[3]);
  const int64_t left = static_cast<int64_t>(numbers[4]), top = static_cast<int64_t>(numbers[5]);
  const int64_t right = static_cast<int64_t>(numbers[6]), bottom = static_cast<int64_t>(numbers[7]);
  out[kOffsetTop] = static_cast<float>(placed(placement, w.word[2], target.height + top + bottom, view_height) - top);
  out[kOffsetLeft] = static_cast<float>(placed(placement, w.word[3], target.width + left + right, view_width) - left);
}

SSLFAST_HD void sample_affine(const Draws& draws, const double* rule, Size view, float* out) {
  const Words first = draws.block(0), second = draws.block(1);
  out[0] = happens(first.word[0], rule[0]);
  const double reach_x = mul(rule[3], static_cast<double>(view.width));
  const double reach_y = mul(rule[5], static_cast<double>(view.height));
  const double to_x = mul(rule[4], static_cast<double>(view.width));
  const double to_y = mul(rule[6], static_cast<double>(view.height));
  out[1] = static_cast<float>(uniform(first.word[1], rule[1], rule[2]));
  out[2] = static_cast<float>(round_half_even(uniform(first.word[2], reach_x, to_x)));
  out[3] = static_cast<float>(round_half_even(uniform(first.word[3], reach_y, to_y)));
  out[4] = static_cast<float>(uniform(second.word[0], rule[7], rule[8]));
  out[5] = static_cast<float>(uniform(second.word[1], rule[9], rule[10]));
  out[6] = static_cast<float>(uniform(second.word[2], rule[11], rule[12]));
  out[7] = static_cast<int32_t>(rule[13]) == kAboutCorner ? 1.0f : 0.0f;
}

// One operation of a list, its magnitude on an even grid of bins; half of the signed ones are negative.
SSLFAST_HD void sample_choice(const Draws& draws, const double* rule, Size view, float* out) {
  const Words w = draws.block(0);
  const int64_t first = static_cast<int64_t>(rule[0]), last = static_cast<int64_t>(rule[1]);
  const double* op = rule + 4 + 4 * uniform_below(w.word[0], static_cast<uint64_t>(rule[3]));
  const int64_t bin = first + uniform_below(w.word[1], static_cast<uint64_t>(last - first + 1));
  double magnitude = op[1];
  if (rule[2] > 1) magnitude = add(op[1], div(mul(sub(op[2], op[1]), static_cast<double>(bin)), sub(rule[2], 1.0)));
  const int32_t code = static_cast<int32_t>(op[0]), sign = static_cast<int32_t>(op[3]);
  if (sign == kSignedShare) {
    magnitude = mul(magnitude, static_cast<double>(code == kChoiceTranslateX ? view.width : view.height));
  }
  if (code == kChoicePosterize) magnitude = round_half_even(magnitude);
  if (code == kChoiceTranslateX || code == kChoiceTranslateY) {
    magnitude = static_cast<double>(static_cast<int64_t>(magnitude));  // whole pixels, toward 0
  }
  if (sign != kAsItIs && w.word[2] >> 31) magnitude = -magnitude;
  out[0] = static_cast<float>(op[0]);
  out[1] = static_cast<float>(magnitude);
}

SSLFAST_HD void sample_step(int32_t code, const Draws& draws, const double* rule, Size image, Size view, float* out) {
  if (code == kStepResample) return sample_resample(draws, rule, image, out);
  if (code == kStepAffine) return sample_affine(draws, rule, view, out);
  if (code == kStepChoice) return sample_choice(draws, rule, view, out);
  const Words w = draws.block(0);
  out[0] = happens(w.word[0], rule[0]);
  switch (code) {
    case kStepColorJitter: {
      const Words factors = draws.block(1);
      out[1] = static_cast<float>(uniform_below(w.word[1], 24));
      for (int k = 0; k < 4; ++k) {
        out[2 + k] = static_cast<float>(uniform(factors.word[k], rule[1 + 2 * k], rule[2 + 2 * k]));
      }
      return;
    }
    case kStepSolarize:
    case kStepPosterize:
      out[1] = static_cast<float>(rule[1]);
      return;
    case kStepSharpness:
    case kStepBlur:
      out[1] = static_cast<float>(uniform(w.word[1], rule[1], rule[2]));
      return;
    default:
      return;
  }
}

// Fills the row of one (sample, view).
SSLFAST_HD void sample_view(const ImageAugmentParams& p, uint64_t seed, int64_t row, int64_t view, float* out) {
  const Size image = p.sizes ? Size{p.sizes[2 * row], p.sizes[2 * row + 1]} : Size{p.height, p.width};
  const Size out_size{static_cast<int64_t>(p.rules[1]), static_cast<int64_t>(p.rules[2])};
  Draws draws{seed, p.numbers[row], static_cast<uint32_t>(p.first_view + view) * kMaxSteps * kStepBlocks};
  const double* rule = p.rules;
  for (int32_t s = 0; s < p.steps; ++s) {
    sample_step(p.codes[s], draws, rule, image, out_size, out);
    draws.element += kStepBlocks;
    rule += rule_count(p.codes[s], rule);
    out += step_columns(p.codes[s]);
  }
}

// Box `number` that is erased in a view, into the row's last columns. Every box of every view has a seed of its own,
// that of a step of this number. Segments of a list count as views in the draws, but its boxes are those of the views.
SSLFAST_HD void sample_erase(const ImageAugmentParams& p, uint64_t seed, int64_t row, int64_t view, int64_t number,
                             float* out) {
  const EraseRule& rule = p.erase[number];
  const int64_t step = (p.first_view % kSegment + view) * kMaxErases + number;
  const Words own = philox(seed, Stream::kStep, static_cast<uint64_t>(step), 0);
  EraseDraw draw{};
  draw.threshold = rule.threshold;
  draw.height = static_cast<int64_t>(p.rules[1]);
  draw.width = static_cast<int64_t>(p.rules[2]);
  draw.scale_low = rule.scale_low;
  draw.scale_high = rule.scale_high;
  draw.log_ratio_low = rule.log_ratio_low;
  draw.log_ratio_high = rule.log_ratio_high;
  erase::erase_params(draw, uint64_t{own.word[1]} << 32 | own.word[0], p.numbers[row],
                      out + p.columns - (p.erases - number) * kEraseColumns);
}

// What keeps a point (x, y) of a view where it is, in an affine map about its centre: a translation.
SSLFAST_HD void keep_point(double x, double y, Size view, float* out) {
  constexpr double kRadians = 0.017453292519943295;
  const double turn = mul(out[1], kRadians), shear_x = mul(out[5], kRadians), shear_y = mul(out[6], kRadians);
  const double from_x = sub(x, mul(0.5, static_cast<double>(view.width)));
  const double from_y = sub(y, mul(0.5, static_cast<double>(view.height)));
  const double cosine_y = cosine(shear_y), tangent_x = div(sine(shear_x), cosine(shear_x));
  const double a = div(cosine(sub(turn, shear_y)), cosine_y), c = div(sine(sub(turn, shear_y)), cosine_y);
  const double b = -add(mul(a, tangent_x), sine(turn)), d = sub(cosine(turn), mul(c, tangent_x));
  const double to_x = mul(out[4], add(mul(a, from_x), mul(b, from_y)));
  const double to_y = mul(out[4], add(mul(c, from_x), mul(d, from_y)));
  out[2] = static_cast<float>(add(out[2], sub(from_x, to_x)));
  out[3] = static_cast<float>(add(out[3], sub(from_y, to_y)));
}

SSLFAST_HD bool about_point(int32_t code, const double* rule) {
  return code == kStepAffine && static_cast<int32_t>(rule[13]) == kAboutPoint;
}

// Affine maps about a point, in a row that sample_view has filled. Behind it, not in it: so a thread of a GPU does not
// hold the numbers of both at once.
SSLFAST_HD void keep_points(const ImageAugmentParams& p, float* out) {
  const Size view{static_cast<int64_t>(p.rules[1]), static_cast<int64_t>(p.rules[2])};
  const double* rule = p.rules;
  for (int32_t s = 0; s < p.steps; ++s) {
    if (about_point(p.codes[s], rule)) keep_point(rule[14], rule[15], view, out);
    rule += rule_count(p.codes[s], rule);
    out += step_columns(p.codes[s]);
  }
}

inline bool has_points(const ImageAugmentParams& p) {
  const double* rule = p.rules;
  bool found = false;
  for (int32_t s = 0; s < p.steps; ++s) {
    found = found || about_point(p.codes[s], rule);
    rule += rule_count(p.codes[s], rule);
  }
  return found;
}

}  // namespace sslfast::sample
