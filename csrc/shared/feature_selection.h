// Which features of a row are corrupted, decided one after the other, and by what: alike on the CPU and the GPU.
#pragma once

#include "portable_double.h"
#include "random_order.h"
#include "sslfast/feature_corruption.h"

namespace sslfast::features {

// Walks a row; asked about every feature in ascending order.
struct Selection {
  const bool exact;
  const uint64_t threshold;
  int64_t left;    // features still to come
  int64_t wanted;  // of them to corrupt

  SSLFAST_HD explicit Selection(const FeatureCorruption& p)
      : exact(p.exact), threshold(p.threshold), left(p.features), wanted(p.count) {}

  // Exact: with probability wanted / left, which makes every set of `count` features equally likely.
  SSLFAST_HD bool next(uint32_t word) {
    if (!exact) return word < threshold;
    const bool hit = uniform_below(word, static_cast<uint64_t>(left)) < static_cast<uint64_t>(wanted);
    --left;
    wanted -= hit;
    return hit;
  }
};

// The order that a column takes.
SSLFAST_HD OrderDraw column_order(uint64_t seed, int64_t feature) {
  return {seed, Stream::kFeatureOrder, static_cast<uint64_t>(feature), 0};
}

SSLFAST_HD double uniform_value(double low, double high, uint32_t word) {
  const double share = static_cast<double>(word) / 4294967296.0;  // exact
  return portable::add(low, portable::mul(portable::sub(high, low), share));
}

// a != b of elements given by their bits: zeros are equal whatever their signs, and NaN equals nothing.
template <typename Bits>
SSLFAST_HD bool differ(Bits a, Bits b, uint64_t infinity) {
  if (infinity == 0) return a != b;
  const Bits magnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const bool zeros = ((a | b) & magnitude) == 0, nan = (a & magnitude) > infinity;
  return (a != b && !zeros) || nan;
}

}  // namespace sslfast::features
