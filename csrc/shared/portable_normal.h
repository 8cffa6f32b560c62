// Two standard normal floats from two words by Box and Muller's method, with the same bits on the CPU and the GPU:
// sums, products and roots in single precision, each rounded once, in a loop that vectorises. Within 1e-6 of the exact
// ones; the radius has 2^24 values, the greatest 5.9.
#pragma once

#include <cstdint>

#include "portable_float.h"

namespace sslfast::normal {

using namespace rounded;

// log(x / 2^24) for x in (0, 2^24]: x = 2^k m with m in [sqrt(1/2), sqrt(2)), a polynomial of degree 9 in m - 1.
SSLFAST_HD float log_of_share(float x) {
  const int32_t bits = bits_of(x);
  const int32_t k = (bits - 0x3F3504F3) >> 23;  // 0x3F3504F3: sqrt(1/2)
  const float m = from_bits(bits - k * (1 << 23)), r = add(m, -1.0f), square = mul(r, r);
  float p = 7.0376836292e-2f;
  p = add(mul(p, r), -1.1514610310e-1f);
  p = add(mul(p, r), 1.1676998740e-1f);
  p = add(mul(p, r), -1.2420140846e-1f);
  p = add(mul(p, r), 1.4249322787e-1f);
  p = add(mul(p, r), -1.6668057665e-1f);
  p = add(mul(p, r), 2.0000714765e-1f);
  p = add(mul(p, r), -2.4999993993e-1f);
  p = add(mul(p, r), 3.3333331174e-1f);
  const float log = add(r, add(mul(mul(p, r), square), mul(-0.5f, square)));
  return add(log, mul(static_cast<float>(k - 24), 0.69314718f));
}

struct Pair {
  float first, second;
};

SSLFAST_HD Pair normal_pair(uint32_t a, uint32_t b) {
  const float share = add(static_cast<float>(static_cast<int32_t>(a >> 8)), 0.5f);
  const float log = log_of_share(share), radius = square_root(mul(-2.0f, log < 0.0f ? log : 0.0f));
  // An angle in a quarter turn around 0, then one of the four quarters.
  const float t =
      mul(add(static_cast<float>(static_cast<int32_t>(b >> 6 & 0xFFFFFFu) - 0x800000), 0.5f), 9.3626757e-8f);
  const float square = mul(t, t);
  float s = -1.9515295891e-4f;
  s = add(mul(s, square), 8.3321608736e-3f);
  s = add(mul(s, square), -1.6666654611e-1f);
  s = add(t, mul(t, mul(s, square)));
  float c = 2.4433157118e-5f;
  c = add(mul(c, square), -1.3887316255e-3f);
  c = add(mul(c, square), 4.1666645683e-2f);
  c = add(add(1.0f, mul(-0.5f, square)), mul(c, mul(square, square)));
  const float turned = b >> 31 ? -radius : radius;
  const bool swapped = b >> 30 & 1u;
  return {mul(turned, swapped ? s : c), mul(turned, swapped ? c : s)};
}

}  // namespace sslfast::normal
