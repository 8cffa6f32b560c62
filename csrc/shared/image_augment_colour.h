// The colour operations of torchvision's float functionals on one pixel, values in [0, 1], without branches.
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

// Turns the hue by `turn` sixths of the colour wheel. With the hue in sextants, red, green and blue stand above the
// minimum by the chroma times a trapezoid: exactly HSV and back, with one division and no table.
template <typename F>
SSLFAST_HD Pixel<F> hue(const Pixel<F>& p, float turn) {
  const F high = larger(larger(p.r, p.g), p.b), low = smaller(smaller(p.r, p.g), p.b);
  const F chroma = high - low;
  const auto red = high == p.r, green = high == p.g;
  const F difference = red ? p.g - p.b : green ? p.b - p.r : p.r - p.g;
  const F start = red ? splat<F>(0.0f) : green ? splat<F>(2.0f) : splat<F>(4.0f);
  F h = difference / larger(chroma, splat<F>(1e-20f)) + (start + turn);  // in [-4, 8]; any where chroma is 0
  h = h < 0.0f ? h + 6.0f : h;
  h = h >= 6.0f ? h - 6.0f : h;
  return {low + chroma * saturate(absolute(h - 3.0f) - 1.0f), low + chroma * saturate(2.0f - absolute(h - 2.0f)),
          low + chroma * saturate(2.0f - absolute(h - 4.0f))};
}

// The operation `op` of a list of jitter operations; contrast is not among them.
template <int kChannels, typename F>
SSLFAST_HD Pixel<F> jitter(const Pixel<F>& p, uint32_t op, const View& v) {
  if (kChannels == 1 || op == kOpBrightness) return brightness(p, v.brightness_factor);
  if (op == kOpSaturation) return saturation(p, v.saturation_factor, v.saturation_rest);
  return hue(p, v.hue_turn);
}

// Round to nearest, ties to even; a view holds no NaN.
SSLFAST_HD void store(float* out, float value) { *out = value; }
SSLFAST_HD void store(BFloat16* out, float value) {
#ifdef __CUDA_ARCH__
  const uint32_t bits = __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
#endif
  out->bits = static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace sslfast::augment
