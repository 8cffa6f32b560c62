// CUDA's half precision, as far as csrc uses it.
#pragma once

#include <bit>
#include <cstdint>

struct __half {
  uint16_t bits;

  __half() = default;
  __half(float x) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(x))) {}
  operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline __half __float2half_rn(float x) { return x; }
inline __half __ushort_as_half(uint16_t bits) { return std::bit_cast<__half>(bits); }
inline uint16_t __half_as_ushort(__half x) { return x.bits; }
