// The noise of one id as a number, for the derivative of a softmax that was sampled: -log(-log(u)), u = (word + 1/2) /
// 2^32, to a few units of rounding in single precision. What is chosen is decided by gumbel_score.h.
#pragma once

#include "gaussian_noise.h"

namespace sslfast::gumbel {

// -log(u): near 1 by the distance of u from it, which a float of u has lost, as log(1 - x) = -x log(w) / (w - 1) with
// w = 1 - x, rounded.
SSLFAST_HD float exponential(uint32_t word) {
  using namespace gaussian;
  constexpr float kUnit = 1.0f / 4294967296.0f;
  const bool low = word < 0x80000000u;
  const float x = mul(add(static_cast<float>(static_cast<int32_t>(low ? word : ~word)), 0.5f), kUnit);
  const float w = low ? x : add(1.0f, -x), gap = add(1.0f, -w);
  const float plain = -logarithm(w);
  return low ? plain : gap > 0.0f ? mul(plain, div(x, gap)) : x;
}

SSLFAST_HD float noise(uint32_t word) { return -gaussian::logarithm(exponential(word)); }

inline double noise_in_double(uint32_t word) {
  return -std::log(-std::log1p(-(static_cast<double>(~word) + 0.5) / 4294967296.0));
}

}  // namespace sslfast::gumbel
