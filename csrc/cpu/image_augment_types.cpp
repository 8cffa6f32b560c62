// Between floats and the types that images and views have. Apart from image_augment_rows.cpp, which is compiled for
// numbers without NaN.
#include "element_types.h"
#include "image_augment_rows.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

// True where a pixel is NaN or infinite: their exponent is all ones.
template <typename Pixel>
inline __attribute__((always_inline)) bool widen_pixels(const Pixel* __restrict pixels, int64_t stride, int64_t n,
                                                        float* __restrict out) {
  uint32_t largest = 0;
  for (int64_t x = 0; x < n; ++x) {
    out[x] = widen(pixels[x * stride]);
    uint32_t bits;
    std::memcpy(&bits, &out[x], 4);
    bits &= 0x7FFFFFFFu;
    largest = bits > largest ? bits : largest;
  }
  return largest >= 0x7F800000u;
}

inline __attribute__((always_inline)) void narrow_pixel(float x, uint8_t& out) {
  out = static_cast<uint8_t>(static_cast<int32_t>(x + 0.5f));
}

template <typename Pixel>
inline __attribute__((always_inline)) void narrow_pixel(float x, Pixel& out) {
  narrow(x, out);
}

template <typename Pixel>
inline __attribute__((always_inline)) void narrow_pixels(const float* __restrict row, int64_t n, int64_t stride,
                                                         Pixel* __restrict out) {
  if (stride == 1) {
    for (int64_t x = 0; x < n; ++x) narrow_pixel(row[x], out[x]);
  } else {
    for (int64_t x = 0; x < n; ++x) narrow_pixel(row[x], out[x * stride]);
  }
}

// One pass over three rows, which becomes shuffles and whole stores; three passes over every third value would not.
template <typename Pixel>
inline __attribute__((always_inline)) void interleave_pixels(const float* __restrict red, const float* __restrict green,
                                                             const float* __restrict blue, int64_t n,
                                                             Pixel* __restrict out) {
  for (int64_t x = 0; x < n; ++x) {
    narrow_pixel(red[x], out[3 * x]);
    narrow_pixel(green[x], out[3 * x + 1]);
    narrow_pixel(blue[x], out[3 * x + 2]);
  }
}

}  // namespace

SSLFAST_ISA_CLONES bool widen_row(const void* pixels, int64_t stride, Pixels type, int64_t n, float* out) {
  switch (type) {
    case Pixels::kFloat:
      return widen_pixels(static_cast<const float*>(pixels), stride, n, out);
    case Pixels::kBFloat16:
      return widen_pixels(static_cast<const Brain16*>(pixels), stride, n, out);
    default:
      return widen_pixels(static_cast<const Half16*>(pixels), stride, n, out);
  }
}

SSLFAST_ISA_CLONES void narrow_row(const float* row, int64_t n, int64_t stride, Pixels type, void* out) {
  switch (type) {
    case Pixels::kUint8:
      return narrow_pixels(row, n, stride, static_cast<uint8_t*>(out));
    case Pixels::kFloat:
      return narrow_pixels(row, n, stride, static_cast<float*>(out));
    case Pixels::kBFloat16:
      return narrow_pixels(row, n, stride, static_cast<Brain16*>(out));
    default:
      return narrow_pixels(row, n, stride, static_cast<Half16*>(out));
  }
}

SSLFAST_ISA_CLONES void interleave_rows(const Planes& rows, int64_t n, Pixels type, void* out) {
  const float *red = rows.plane[0], *green = rows.plane[1], *blue = rows.plane[2];
  switch (type) {
    case Pixels::kUint8:
      return interleave_pixels(red, green, blue, n, static_cast<uint8_t*>(out));
    case Pixels::kFloat:
      return interleave_pixels(red, green, blue, n, static_cast<float*>(out));
    case Pixels::kBFloat16:
      return interleave_pixels(red, green, blue, n, static_cast<Brain16*>(out));
    default:
      return interleave_pixels(red, green, blue, n, static_cast<Half16*>(out));
  }
}

}  // namespace sslfast::cpu
