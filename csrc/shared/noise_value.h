// Noise from random words, in float arithmetic with the same bits on CPU and GPU: products and sums are rounded one by
// one, roots are exact to the last bit.
//
// Two normal numbers come from two words, by Box and Muller: r cos and r sin of a random angle, r^2 = -2 log u with
// u = (word + 1/2) / 2^32, so that the largest is 6.8. Minimax polynomials for the logarithm, and for sine and cosine
// in an eighth of the circle; the error is below 1e-6.
#pragma once

#include <cstdint>

#include "portable_float.h"

namespace sslfast::noise {

using namespace rounded;

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
  const float f = add(from_bits(bits - (k << 23)), -1.0f);
  return add(mul(static_cast<float>(k), 0.69314718f), mul(f, polynomial(c, f)));
}

struct Pair {
  float first, second;
};

SSLFAST_HD Pair normal_pair(uint32_t radius, uint32_t angle) {
  constexpr float sine_of[] = {1.5707964f, -0.64596343f, 0.079680026f, -0.0046016257f};
  constexpr float cosine_of[] = {1.0f, -1.2337005f, 0.25366917f, -0.020859933f, 0.00090335653f};
  // Halves of the word are exact in float, so their sum is the word rounded once: not all CPUs convert 32 unsigned
  // bits.
  const float high = static_cast<float>(static_cast<int32_t>(radius >> 16));
  const float low = static_cast<float>(static_cast<int32_t>(radius & 0xFFFFu));
  const float u = mul(add(add(mul(high, 65536.0f), low), 0.5f), 1.0f / 4294967296.0f);
  const float r = square_root(mul(logarithm(u), -2.0f));
  const uint32_t turned = angle + (1u << 29), quarter = turned >> 30;
  const int32_t rest = static_cast<int32_t>(turned & 0x3FFFFFFFu) - (1 << 29);
  const float x = mul(add(static_cast<float>(rest), 0.5f), 1.0f / 1073741824.0f);  // of a quarter turn, within 1/2
  const float square = mul(x, x);
  const float sine = mul(x, polynomial(sine_of, square)), cosine = polynomial(cosine_of, square);
  const bool swap = quarter & 1u;
  const int32_t first_sign = static_cast<int32_t>(((quarter + 1u) & 2u) << 30);
  const int32_t second_sign = static_cast<int32_t>((quarter & 2u) << 30);
  return {mul(r, from_bits(bits_of(swap ? sine : cosine) ^ first_sign)),
          mul(r, from_bits(bits_of(swap ? cosine : sine) ^ second_sign))};
}

}  // namespace sslfast::noise
