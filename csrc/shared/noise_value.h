// Noise from one word, in float arithmetic with the same bits on CPU and GPU: products and sums are rounded one by one.
//
// A normal number is the quantile of u = (word + 1/2) / 2^32. With x = 2 u - 1 it is x R(w), w = -log(1 - x^2), and R
// is smooth: a polynomial in w near the middle, in sqrt(w) in the tails. 1 - x^2 = 4 t (1 - t) with t the lesser of u
// and 1 - u, so that the tails keep all bits of the word: the largest number is 6.3. Minimax polynomials; the error is
// below 1e-6 of the number.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "sslfast/philox.h"

namespace sslfast::noise {

#ifdef __CUDA_ARCH__
SSLFAST_HD float add(float a, float b) { return __fadd_rn(a, b); }
SSLFAST_HD float mul(float a, float b) { return __fmul_rn(a, b); }
SSLFAST_HD float square_root(float a) { return __fsqrt_rn(a); }
SSLFAST_HD double add(double a, double b) { return __dadd_rn(a, b); }
SSLFAST_HD double mul(double a, double b) { return __dmul_rn(a, b); }
SSLFAST_HD int32_t bits_of(float a) { return __float_as_int(a); }
SSLFAST_HD float float_of(int32_t bits) { return __int_as_float(bits); }
#else
SSLFAST_HD float add(float a, float b) { return a + b; }
SSLFAST_HD float mul(float a, float b) { return a * b; }
SSLFAST_HD float square_root(float a) { return std::sqrt(a); }
SSLFAST_HD double add(double a, double b) { return a + b; }
SSLFAST_HD double mul(double a, double b) { return a * b; }
SSLFAST_HD int32_t bits_of(float a) {
  int32_t bits;
  std::memcpy(&bits, &a, 4);
  return bits;
}
SSLFAST_HD float float_of(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
#endif

// Uniform in (-1, 1), up to rounding.
SSLFAST_HD float uniform(uint32_t word) {
  return mul(add(static_cast<float>(static_cast<int32_t>(word ^ 0x80000000u)), 0.5f), 1.0f / 2147483648.0f);
}

template <int kCount>
SSLFAST_HD float polynomial(const float (&c)[kCount], float x) {
  float value = c[kCount - 1];
  for (int i = kCount - 2; i >= 0; --i) value = add(c[i], mul(value, x));
  return value;
}

// log(y), 0 < y <= 1: y = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
SSLFAST_HD float logarithm(float y) {
  constexpr float c[] = {1.0f,         -0.49999988f, 0.33333325f,  -0.25001586f, 0.20001969f,
                         -0.16609013f, 0.14181836f,  -0.13243462f, 0.1290466f,   -0.076211125f};
  const int32_t bits = bits_of(y);
  const int32_t k = (bits - 0x3F3504F3) >> 23;
  const float f = add(float_of(bits - (k << 23)), -1.0f);
  return add(mul(static_cast<float>(k), 0.69314718f), mul(f, polynomial(c, f)));
}

SSLFAST_HD float normal(uint32_t word) {
  constexpr float middle[] = {2.1233137f,     0.34880266f,     -0.0059081712f, -0.00177301f,  0.0003091502f,
                              -6.217993e-06f, -4.9905652e-06f, 4.8610394e-07f, 4.0354635e-08f};
  constexpr float tails[] = {4.7170887f,      1.4246379f,     0.004646412f,    -0.0029507144f, 0.0014796169f,
                             -0.00086607062f, 0.00073408132f, -0.00043224543f, 1.9220126e-05f, 5.3393374e-05f};
  const uint32_t other = ~word;
  const auto lesser = static_cast<int32_t>(word < other ? word : other);
  const float t = mul(add(static_cast<float>(lesser), 0.5f), 1.0f / 4294967296.0f);
  const float w = -logarithm(mul(mul(4.0f, t), add(1.0f, -t)));
  const float near = polynomial(middle, add(w, -2.5f));
  const float far = polynomial(tails, add(square_root(w < 0.0f ? 0.0f : w), -3.5f));
  return mul(uniform(word), w < 5.0f ? near : far);
}

}  // namespace sslfast::noise
