#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace sslfast::cpu {

// log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], with the polynomial of Cephes' logf.
inline __attribute__((always_inline)) float log1p_of_small(float f) {
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const float square = f * f;
  return f + (square * f * p - 0.5f * square);
}

constexpr float kSqrt2Less1 = 0.41421356f, kLog2 = 0.693147181f;

// log(1 + x) for x in [0, 1], within 2 ulp, written so that loops over it vectorise: the upper part of the range is
// halved, 1 + x = 2 (1 + f).
inline __attribute__((always_inline)) float vector_log1p(float x) {
  const bool upper = x > kSqrt2Less1;
  const float result = log1p_of_small(upper ? 0.5f * (x - 1.0f) : x);
  return upper ? result + kLog2 : result;
}

// The same within 3 ulp for any finite x >= 0: 1 + x = 2^n (1 + f). Of a product of numbers 1 + e one logarithm is
// enough, and it keeps the relative precision of small ones if x, the product less one, is made as x + e + x e.
inline __attribute__((always_inline)) float vector_log1p_of_product(float x) {
  constexpr int32_t kSqrtHalfBits = 0x3f3504f3;
  const float y = 1.0f + x;
  int32_t bits;
  std::memcpy(&bits, &y, 4);
  const int32_t exponent = (bits - kSqrtHalfBits) >> 23;
  bits -= static_cast<int32_t>(static_cast<uint32_t>(exponent) << 23);
  float mantissa;
  std::memcpy(&mantissa, &bits, 4);
  const bool upper = x > kSqrt2Less1;
  return log1p_of_small(upper ? mantissa - 1.0f : x) + (upper ? static_cast<float>(exponent) * kLog2 : 0.0f);
}

inline double vector_log1p(double x) { return std::log1p(x); }
inline double vector_log1p_of_product(double x) { return std::log1p(x); }

}  // namespace sslfast::cpu
