// Float arithmetic with the same bits on CPU and GPU, and of doubles what formulas for both need. Neither compiler may
// contract it: the CPU sources are built with -ffp-contract=off, the device uses intrinsics that round once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "portable_double.h"
#include "sslfast/philox.h"

namespace sslfast::rounded {

using portable::add;
using portable::mul;

#ifdef __CUDA_ARCH__
SSLFAST_HD float add(float a, float b) { return __fadd_rn(a, b); }
SSLFAST_HD float mul(float a, float b) { return __fmul_rn(a, b); }
SSLFAST_HD float div(float a, float b) { return __fdiv_rn(a, b); }
SSLFAST_HD float square_root(float a) { return __fsqrt_rn(a); }
SSLFAST_HD int32_t bits_of(float a) { return __float_as_int(a); }
SSLFAST_HD float from_bits(int32_t bits) { return __int_as_float(bits); }
#else
SSLFAST_HD float add(float a, float b) { return a + b; }
SSLFAST_HD float mul(float a, float b) { return a * b; }
SSLFAST_HD float div(float a, float b) { return a / b; }
SSLFAST_HD float square_root(float a) { return std::sqrt(a); }
SSLFAST_HD int32_t bits_of(float a) {
  int32_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  return bits;
}
SSLFAST_HD float from_bits(int32_t bits) {
  float a;
  std::memcpy(&a, &bits, sizeof a);
  return a;
}
#endif

}  // namespace sslfast::rounded
