// Noise as integers of the same order, that of torch.sort: -0 and 0 are equal, NaN lies above every number.
#pragma once

#include <cstdint>
#include <cstring>

#include "sslfast/philox.h"

namespace sslfast {

SSLFAST_HD uint32_t noise_key(float x) {
  if (x != x) return 0xFFFFFFFFu;
  if (x == 0.0f) return 0x80000000u;
#ifdef __CUDA_ARCH__
  const uint32_t bits = __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
#endif
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

SSLFAST_HD uint64_t noise_key(double x) {
  if (x != x) return ~uint64_t{0};
  if (x == 0.0) return uint64_t{1} << 63;
#ifdef __CUDA_ARCH__
  const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(x));
#else
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
#endif
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

// The number of a key; 0 for both zeros.
SSLFAST_HD double key_value(uint64_t key) {
  const uint64_t bits = key >> 63 ? key ^ uint64_t{1} << 63 : ~key;
#ifdef __CUDA_ARCH__
  return __longlong_as_double(static_cast<long long>(bits));
#else
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

}  // namespace sslfast
