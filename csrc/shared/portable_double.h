// Double arithmetic with the same bits on CPU and GPU. Neither compiler may contract it: the CPU sources are built with
// -ffp-contract=off, the device uses intrinsics that round once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "sslfast/philox.h"

namespace sslfast::portable {

#ifdef __CUDA_ARCH__
SSLFAST_HD double add(double a, double b) { return __dadd_rn(a, b); }
SSLFAST_HD double sub(double a, double b) { return __dsub_rn(a, b); }
SSLFAST_HD double mul(double a, double b) { return __dmul_rn(a, b); }
SSLFAST_HD double div(double a, double b) { return __ddiv_rn(a, b); }
SSLFAST_HD double square_root(double a) { return __dsqrt_rn(a); }
SSLFAST_HD double round_half_even(double a) { return rint(a); }
SSLFAST_HD double power_of_two(int k) { return __longlong_as_double(static_cast<long long>(k + 1023) << 52); }
#else
SSLFAST_HD double add(double a, double b) { return a + b; }
SSLFAST_HD double sub(double a, double b) { return a - b; }
SSLFAST_HD double mul(double a, double b) { return a * b; }
SSLFAST_HD double div(double a, double b) { return a / b; }
SSLFAST_HD double square_root(double a) { return std::sqrt(a); }
SSLFAST_HD double round_half_even(double a) { return std::nearbyint(a); }
SSLFAST_HD double power_of_two(int k) {
  const int64_t bits = static_cast<int64_t>(k + 1023) << 52;
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
#endif

// exp(x) to about 1e-16, for |x| < 700: x = k ln 2 + r, then the Taylor series of exp(r), nested.
SSLFAST_HD double exponential(double x) {
  const double k = round_half_even(mul(x, 1.4426950408889634));
  const double r = sub(sub(x, mul(k, 0.693147180369123816490)), mul(k, 1.90821492927058770002e-10));
  double series = 1.0;
  for (int n = 13; n >= 1; --n) series = add(1.0, div(mul(series, r), n));
  return mul(series, power_of_two(static_cast<int>(k)));
}

// log(x) to about 1e-16 of it, for normal x > 0: x = 2^k m with m near 1, then the series of the inverse hyperbolic
// tangent of (m - 1) / (m + 1), nested.
SSLFAST_HD double logarithm(double x) {
  uint64_t bits;
#ifdef __CUDA_ARCH__
  bits = static_cast<uint64_t>(__double_as_longlong(x));
#else
  std::memcpy(&bits, &x, sizeof bits);
#endif
  int k = static_cast<int>(bits >> 52) - 1023;
  bits = (bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u;
  double m;
#ifdef __CUDA_ARCH__
  m = __longlong_as_double(static_cast<long long>(bits));
#else
  std::memcpy(&m, &bits, sizeof m);
#endif
  if (m > 1.4142135623730951) {
    m = mul(m, 0.5);
    ++k;
  }
  const double s = div(sub(m, 1.0), add(m, 1.0)), square = mul(s, s);
  double series = 1.0 / 23.0;
  for (int n = 21; n >= 1; n -= 2) series = add(div(1.0, n), mul(series, square));
  return add(mul(k, 0.693147180369123816490), add(mul(k, 1.90821492927058770002e-10), mul(add(s, s), series)));
}

// sin(x) to about 1e-15, for |x| < 1e5: x = k pi / 2 + r, then the Taylor series of sin(r) or cos(r), nested. `quarter`
// turns further.
SSLFAST_HD double sine(double x, int quarter = 0) {
  const double k = round_half_even(mul(x, 0.63661977236758138));
  const double r = sub(sub(x, mul(k, 1.5707963267341256)), mul(k, 6.0771005065061922e-11)), square = mul(r, r);
  const int turns = static_cast<int>(static_cast<int64_t>(k) & 3) + quarter;
  double series = 1.0;
  if (turns & 1) {
    for (int n = 18; n >= 2; n -= 2) series = sub(1.0, div(mul(series, square), n * (n - 1)));
  } else {
    for (int n = 19; n >= 3; n -= 2) series = sub(1.0, div(mul(series, square), n * (n - 1)));
    series = mul(series, r);
  }
  return turns & 2 ? -series : series;
}

SSLFAST_HD double cosine(double x) { return sine(x, 1); }

}  // namespace sslfast::portable
