// Sums over neighbours in lanes of 64 bytes, at every instruction set alike, and what is standardised by them.
#pragma once

#include <cstdint>

namespace sslfast::cpu {

template <typename T>
struct SumLanes;
template <>
struct SumLanes<float> {
  typedef float Type __attribute__((vector_size(64), aligned(4), may_alias));
};
template <>
struct SumLanes<double> {
  typedef double Type __attribute__((vector_size(64), aligned(8), may_alias));
};

// The sum of x, or of (x - mean)^2.
template <bool kSquares, typename T>
inline __attribute__((always_inline)) T sum_in_lanes(const T* x, int64_t n, T mean) {
  using Lanes = typename SumLanes<T>::Type;
  constexpr int64_t kLanes = 64 / sizeof(T);
  Lanes sums{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes value = *reinterpret_cast<const Lanes*>(x + i);
    if constexpr (kSquares) {
      const Lanes distance = value - mean;
      sums += distance * distance;
    } else {
      sums += value;
    }
  }
  T sum = 0;
  for (int64_t k = 0; k < kLanes; ++k) sum += sums[k];
  for (; i < n; ++i) sum += kSquares ? (x[i] - mean) * (x[i] - mean) : x[i];
  return sum;
}

// The sum of term(d) over d < n, in lanes: precise, and vectorised where the terms are.
template <typename T, typename Term>
inline __attribute__((always_inline)) T sum_of(int64_t n, Term term) {
  constexpr int64_t kLanes = 16;
  T lanes[kLanes] = {};
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += term(d + l);
  }
  for (int64_t l = 0; d + l < n; ++l) lanes[l] += term(d + l);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// 0, or NaN where a number is not finite.
template <typename T>
inline __attribute__((always_inline)) T zeros_body(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t d) { return T(0) * x[d]; });
}

// x less its mean, times what `inverse` makes of the sum of squared distances from it.
template <typename T, typename Inverse>
inline __attribute__((always_inline)) void standardise_row(T* x, int64_t n, Inverse inverse) {
  const T mean = sum_in_lanes<false>(x, n, T{0}) / static_cast<T>(n);
  for (int64_t i = 0; i < n; ++i) x[i] -= mean;
  const T rest = sum_in_lanes<false>(x, n, T{0}) / static_cast<T>(n);  // what rounding left of the mean
  const T factor = inverse(sum_in_lanes<true>(x, n, rest));
  for (int64_t i = 0; i < n; ++i) x[i] = (x[i] - rest) * factor;
}

}  // namespace sslfast::cpu
