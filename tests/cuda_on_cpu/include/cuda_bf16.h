// CUDA's bfloat16, as far as csrc uses it.
#pragma once

#include <bit>
#include <cstdint>

struct __nv_bfloat16 {
  uint16_t bits;

  __nv_bfloat16() = default;
  __nv_bfloat16(float x) {  // to the nearest, of two the even one
    const auto wide = std::bit_cast<uint32_t>(x);
    bits = x != x ? 0x7FFF : static_cast<uint16_t>((wide + 0x7FFF + (wide >> 16 & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
