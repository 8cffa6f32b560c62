#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace sslfast::cpu {

// 2^n * p(r) with x = n ln(2) + r, |r| <= ln(2) / 2 and a polynomial of degree 7, for x in [-110, 89] or NaN.
inline __attribute__((always_inline)) float exp_in_range(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low mantissa bits
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t exponent;
  std::memcpy(&exponent, &shifted, 4);
  // Two factors, because 2^128 is not a float but p * 2^128 may be one.
  const int32_t whole = static_cast<int32_t>(static_cast<uint32_t>(exponent) << 10) >> 10;
  const int32_t half = whole >> 1;
  const int32_t bits0 = (half + 127) << 23, bits1 = (whole - half + 127) << 23;
  float scale0, scale1;
  std::memcpy(&scale0, &bits0, 4);
  std::memcpy(&scale1, &bits1, 4);
  return p * scale0 * scale1;
}

// exp in single precision, within 2 ulp, written so that loops over it vectorise. Below -87.3 the result is 0 (no
// denormals), above 88.7 infinity; NaN stays NaN.
inline __attribute__((always_inline)) float vector_exp(float x) {
  const float result = exp_in_range(x < -88.0f ? -88.0f : x > 89.0f ? 89.0f : x);
  return x < -87.33f ? 0.0f : result;
}

// The same of x <= 0, denormals too, with one choice instead of three.
inline __attribute__((always_inline)) float vector_exp_of_negative(float x) {
  return exp_in_range(x < -110.0f ? -110.0f : x);
}

inline double vector_exp(double x) { return std::exp(x); }
inline double vector_exp_of_negative(double x) { return std::exp(x); }

}  // namespace sslfast::cpu
