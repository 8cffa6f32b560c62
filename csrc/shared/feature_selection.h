// Which features of a row are corrupted, decided one after the other: alike on the CPU and the GPU.
#pragma once

#include "sslfast/feature_corruption.h"

namespace sslfast::features {

// Walks a row; asked about every feature in ascending order.
struct Selection {
  const bool exact;
  const uint64_t threshold;
  int64_t left;    // features still to come
  int64_t wanted;  // of them to corrupt

  SSLFAST_HD explicit Selection(const FeatureDraws& p)
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

}  // namespace sslfast::features
