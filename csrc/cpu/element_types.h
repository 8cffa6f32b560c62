// What the types of elements are in C++, and how they are read and rounded.
#pragma once

#include <cstdint>
#include <cstring>

#include "sslfast/dtype.h"
#include "sslfast/unit_rows.h"

namespace sslfast::cpu {

inline __attribute__((always_inline)) float widen(uint8_t x) { return x; }
inline __attribute__((always_inline)) float widen(float x) { return x; }
inline __attribute__((always_inline)) double widen(double x) { return x; }
inline __attribute__((always_inline)) float widen(Brain16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline __attribute__((always_inline)) float widen(Half16 x) {
  _Float16 value;
  std::memcpy(&value, &x, 2);
  return value;
}

inline __attribute__((always_inline)) void narrow(float x, uint8_t& out) { out = static_cast<uint8_t>(x); }
inline __attribute__((always_inline)) void narrow(float x, float& out) { out = x; }
inline __attribute__((always_inline)) void narrow(double x, double& out) { out = x; }
inline __attribute__((always_inline)) void narrow(float x, Brain16& out) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;  // to nearest, ties to even
  out.bits = static_cast<uint16_t>(x != x ? 0x7FC0u : rounded);
}
inline __attribute__((always_inline)) void narrow(float x, Half16& out) {
  const auto value = static_cast<_Float16>(x);
  std::memcpy(&out, &value, 2);
}

// The type of sums.
template <typename Element>
using Wide = decltype(widen(Element{}));

// Calls function with a value of the type that `dtype` names.
template <typename Function>
void by_dtype(Dtype dtype, Function function) {
  switch (dtype) {
    case Dtype::kFloat32:
      return function(float{});
    case Dtype::kFloat64:
      return function(double{});
    case Dtype::kBfloat16:
      return function(Brain16{});
    case Dtype::kFloat16:
      return function(Half16{});
  }
}

// Calls function with an unsigned integer of the element's size, for operators that only move bytes.
template <typename Function>
void by_element_size(int64_t size, Function function) {
  switch (size) {
    case 1:
      return function(uint8_t{});
    case 2:
      return function(uint16_t{});
    case 4:
      return function(uint32_t{});
    default:
      return function(uint64_t{});
  }
}

}  // namespace sslfast::cpu
