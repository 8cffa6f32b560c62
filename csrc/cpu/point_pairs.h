// Distances of pairs of points, and the derivative of the points in them.
#pragma once

#include <cmath>

#include "lane_sums.h"
#include "sslfast/label_distances.h"

namespace sslfast::cpu {

// d of rows x and y.
template <typename T>
inline __attribute__((always_inline)) T apart_body(const T* x, const T* y, int64_t n, Distance distance) {
  if (distance == Distance::kCosine) return -sum_of<T>(n, [&](int64_t d) { return x[d] * y[d]; });
  const T square = sum_of<T>(n, [&](int64_t d) { return (x[d] - y[d]) * (x[d] - y[d]); });
  return distance == Distance::kEuclidean ? std::sqrt(square) : square;
}

// What a difference of points is multiplied by, from the derivative in their distance; a root has none at 0.
template <typename T>
inline __attribute__((always_inline)) T per_difference(T weight, T apart, Distance distance) {
  if (distance == Distance::kCosine) return weight;
  if (distance == Distance::kSquared) return 2 * weight;
  return apart == 0 ? T(0) : weight / apart;
}

}  // namespace sslfast::cpu
