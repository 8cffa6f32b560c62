#pragma once

#include <cmath>

namespace sslfast::cpu {

// log(1 + x) for x in [0, 1], within 2 ulp, written so that loops over it vectorise: the upper part of the range is
// halved, 1 + x = 2 (1 + f), and for f in [sqrt(1/2) - 1, sqrt(2) - 1] the polynomial is that of Cephes' logf.
inline __attribute__((always_inline)) float vector_log1p(float x) {
  const bool upper = x > 0.41421356f;
  const float f = upper ? 0.5f * (x - 1.0f) : x;
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
  const float result = f + (square * f * p - 0.5f * square);
  return upper ? result + 0.693147181f : result;
}

inline double vector_log1p(double x) { return std::log1p(x); }

}  // namespace sslfast::cpu
