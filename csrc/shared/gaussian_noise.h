// Standard normal numbers, four from each Philox counter, by the rule of Box and Muller. Float arithmetic that is
// rounded after every step, with the same bits on CPU and GPU: the CPU sources are built with -ffp-contract=off, the
// device uses intrinsics. All of it vectorises: no branch, no table, no call.
#pragma once

#include <cstdint>

#include "portable_float.h"

namespace sslfast::gaussian {

using namespace rounded;

// log(x) to a few ulp, for normal x > 0: x = 2^k m with m in [0.707, 1.414), then the series of the inverse hyperbolic
// tangent of (m - 1) / (m + 1), of which nothing above the ninth power reaches a float.
SSLFAST_HD float logarithm(float x) {
  constexpr int32_t kRootHalf = 0x3F3504F3;
  const int32_t bits = bits_of(x), k = (bits - kRootHalf) >> 23;
  const float t = add(from_bits(bits - k * (1 << 23)), -1.0f);
  const float s = div(t, add(t, 2.0f)), square = mul(s, s);
  float series = 1.0f / 9.0f;
  series = add(mul(series, square), 1.0f / 7.0f);
  series = add(mul(series, square), 1.0f / 5.0f);
  series = add(mul(series, square), 1.0f / 3.0f);
  series = add(mul(series, square), 1.0f);
  return add(mul(static_cast<float>(k), 0.69314718f), mul(add(s, s), series));
}

struct Pair {
  float first, second;
};

// Radius sqrt(-2 log u) with u = (word / 2 + 1/2) / 2^31, at most 6.7, and an angle in quarter turns: two bits for the
// quadrant, 30 for the place from -1/2 to 1/2 around it.
SSLFAST_HD Pair normal_pair(uint32_t radius_word, uint32_t angle_word) {
  const float u = mul(add(static_cast<float>(static_cast<int32_t>(radius_word >> 1)), 0.5f), 1.0f / 2147483648.0f);
  const float r = square_root(mul(-2.0f, logarithm(u)));
  const int32_t place = static_cast<int32_t>(angle_word & 0x3FFFFFFFu) - (1 << 29);
  const float angle = mul(add(static_cast<float>(place), 0.5f), 1.5707963f / 1073741824.0f);
  const float square = mul(angle, angle);
  float sine = 1.0f / 362880.0f;
  sine = add(mul(sine, square), -1.0f / 5040.0f);
  sine = add(mul(sine, square), 1.0f / 120.0f);
  sine = add(mul(sine, square), -1.0f / 6.0f);
  sine = mul(add(mul(sine, square), 1.0f), angle);
  float cosine = 1.0f / 40320.0f;
  cosine = add(mul(cosine, square), -1.0f / 720.0f);
  cosine = add(mul(cosine, square), 1.0f / 24.0f);
  cosine = add(mul(cosine, square), -0.5f);
  cosine = add(mul(cosine, square), 1.0f);
  const bool odd = (angle_word & 0x40000000u) != 0, low = (angle_word & 0x80000000u) != 0;
  const float across = odd ? -sine : cosine, up = odd ? cosine : sine;
  return {mul(r, low ? -across : across), mul(r, low ? -up : up)};
}

}  // namespace sslfast::gaussian
