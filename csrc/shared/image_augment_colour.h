// The operations of torchvision's float functionals on one pixel, values in [0, 1], without branches.
#pragma once

#include "image_augment_view.h"

namespace sslfast::augment {

constexpr float kGrayRed = 0.2989f, kGrayGreen = 0.587f, kGrayBlue = 0.114f;

// F is float, or a vector of floats on the CPU.
template <typename F>
struct Pixel {
  F r, g, b;
};

// Of a constant: g++ fills a vector with a variable lane by lane.
template <typename F>
SSLFAST_HD F splat(float value) {
  return F{} + value;
}

template <typename F>
SSLFAST_HD F smaller(F a, F b) {
  return a < b ? a : b;
}

template <typename F>
SSLFAST_HD F larger(F a, F b) {
  return a > b ? a : b;
}

template <typename F>
SSLFAST_HD F between(F x, F low, F high) {
  return smaller(larger(x, low), high);
}

template <typename F>
SSLFAST_HD F absolute(F x) {
  return x < 0.0f ? -x : x;
}

template <typename F>
SSLFAST_HD F saturate(F x) {
#ifdef __CUDA_ARCH__
  return __saturatef(x);
#else
  return smaller(larger(x, splat<F>(0.0f)), splat<F>(1.0f));
#endif
}

// Toward 0, of numbers from 0 to 256.
template <typename F>
SSLFAST_HD F truncate(F x) {
#ifdef __CUDACC__
  return truncf(x);
#else
  if constexpr (sizeof(F) == sizeof(float)) {
    return static_cast<F>(static_cast<int32_t>(x));
  } else {
    typedef int32_t Integers __attribute__((vector_size(sizeof(F))));
    return __builtin_convertvector(__builtin_convertvector(x, Integers), F);
  }
#endif
}

template <typename F>
SSLFAST_HD F gray(const Pixel<F>& p) {
  return kGrayRed * p.r + kGrayGreen * p.g + kGrayBlue * p.b;
}

template <typename F>
SSLFAST_HD Pixel<F> brightness(const Pixel<F>& p, float factor) {  // factor >= 0
  const F one = splat<F>(1.0f);
  return {smaller(p.r * factor, one), smaller(p.g * factor, one), smaller(p.b * factor, one)};
}

// Around the mean of the gray image; rest = (1 - factor) * mean.
template <typename F>
SSLFAST_HD Pixel<F> contrast(const Pixel<F>& p, float factor, float rest) {
  return {saturate(p.r * factor + rest), saturate(p.g * factor + rest), saturate(p.b * factor + rest)};
}

template <typename F>
SSLFAST_HD Pixel<F> saturation(const Pixel<F>& p, float factor, float one_minus_factor) {
  const F rest = one_minus_factor * gray(p);
  return {saturate(p.r * factor + rest), saturate(p.g * factor + rest), saturate(p.b * factor + rest)};
}

// Turns the hue by `turn` sextants of the colour wheel. With the hue in sextants from red on, red, green and blue stand
// above the minimum by the chroma times a trapezoid, which is 1 up to one sextant from its colour and 0 from two on:
// exactly HSV and back. All is multiplied by the chroma, so that nothing is divided by it.
template <int kGreen, int kBlue, typename F>
SSLFAST_HD Pixel<F> hue_from(const Pixel<F>& p, float turn) {
  const F high = larger(larger(p.r, p.g), p.b), low = smaller(smaller(p.r, p.g), p.b), chroma = high - low;
  const auto red = high == p.r, green = high == p.g;
  const F after = red ? p.g : green ? p.b : p.r, before = red ? p.b : green ? p.r : p.g;
  const F start = red ? splat<F>(0.0f) : green ? splat<F>(kGreen) : splat<F>(kBlue);
  const F place = (after - before) + chroma * (start + turn), base = low - chroma;
  const F far_green = absolute(absolute(place - 2.0f * chroma) - 3.0f * chroma);
  const F far_blue = absolute(absolute(place + 2.0f * chroma) - 3.0f * chroma);
  return {between((high + chroma) - absolute(place), low, high), between(base + far_green, low, high),
          between(base + far_blue, low, high)};
}

// From where green and blue start, -2 or 4, 2 or -4, no hue comes further than four sextants from red: there the
// distances above are those on the wheel. turn is in [-3, 3].
template <typename F>
SSLFAST_HD Pixel<F> hue(const Pixel<F>& p, float turn) {
  return turn > 1.0f ? hue_from<-4, -2>(p, turn) : turn < -1.0f ? hue_from<2, 4>(p, turn) : hue_from<2, -2>(p, turn);
}

template <typename F>
SSLFAST_HD F solarize(F x, float threshold) {
  return x >= threshold ? 1.0f - x : x;
}

template <typename F>
SSLFAST_HD Pixel<F> solarize(const Pixel<F>& p, float threshold) {
  return {solarize(p.r, threshold), solarize(p.g, threshold), solarize(p.b, threshold)};
}

// To the largest of `levels` even steps from 0 on that is not above; 1 is on the last step.
template <typename F>
SSLFAST_HD Pixel<F> posterize(const Pixel<F>& p, float levels, float step) {
  const F last = splat<F>(levels - 1.0f);
  return {smaller(truncate(p.r * levels), last) * step, smaller(truncate(p.g * levels), last) * step,
          smaller(truncate(p.b * levels), last) * step};
}

template <typename F>
SSLFAST_HD Pixel<F> invert(const Pixel<F>& p) {
  return {1.0f - p.r, 1.0f - p.g, 1.0f - p.b};
}

// Each channel by a factor and an offset.
template <typename F>
SSLFAST_HD Pixel<F> stretch(const Pixel<F>& p, const float* table) {
  return {saturate(p.r * table[0] + table[1]), saturate(p.g * table[2] + table[3]),
          saturate(p.b * table[4] + table[5])};
}

// Auto contrast's factor and offset of one channel, from its least to its largest value. A range below kFlat is one of
// rounding alone, as a resampled image of one colour has it, and stays what it is.
constexpr float kFlat = 1.0f / 65536.0f;

SSLFAST_HD bool is_flat(float low, float high) { return !(high - low >= kFlat); }

SSLFAST_HD void stretch_of(float low, float high, float* table) {
  const bool flat = is_flat(low, high);
  table[0] = flat ? 1.0f : 1.0f / (high - low);
  table[1] = flat ? 0.0f : -low * table[0];
}

// The byte that a pixel stands for in equalize, as torchvision's conversion to uint8 has it.
SSLFAST_HD int32_t to_byte(float x) {
  const int32_t byte = static_cast<int32_t>(x * (256.0f - 1e-3f));
  return byte < 0 ? 0 : byte > 255 ? 255 : byte;
}

// An operation that works on pixels alone, tables apart.
template <typename F>
SSLFAST_HD Pixel<F> apply(const Op& op, const Pixel<F>& p) {
  switch (op.code) {
    case kOpBrightness:
      return brightness(p, op.a);
    case kOpContrast:  // by now b is (1 - factor) times the mean of the gray image
      return contrast(p, op.a, op.b);
    case kOpSaturation:
      return saturation(p, op.a, op.b);
    case kOpHue:
      return hue(p, op.a);
    case kOpGray: {
      const F value = gray(p);
      return {value, value, value};
    }
    case kOpSolarize:
      return solarize(p, op.a);
    case kOpPosterize:
      return posterize(p, op.a, op.b);
    case kOpInvert:
      return invert(p);
    case kOpClamp:
      return {saturate(p.r), saturate(p.g), saturate(p.b)};
    default:
      return stretch(p, op.table);
  }
}

// The same of one of four channels that are made together, whose lists have no other operations.
SSLFAST_HD float apply_to_channel(const Op& op, float x) {
  const Pixel<float> alike{x, x, x};
  switch (op.code) {
    case kOpBrightness:
      return brightness(alike, op.a).r;
    case kOpSolarize:
      return solarize(x, op.a);
    case kOpPosterize:
      return posterize(alike, op.a, op.b).r;
    case kOpInvert:
      return invert(alike).r;
    default:  // clamp
      return saturate(x);
  }
}

}  // namespace sslfast::augment
