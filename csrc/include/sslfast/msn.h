// What MSN makes of the logits of anchors over K prototypes: their cross-entropies with targets that all views of a
// sample share, the sums of their shares p, whose mean's entropy is wanted large, and the gradient of both, which needs
// those sums first: two calls, each of which reads the logits once.
#pragma once

#include <cstdint>

#include "sslfast/launch.h"

namespace sslfast {

constexpr int64_t kMsnChunk = 64;  // anchors that one thread works on: sums do not depend on the number of threads

// With y = scale * logits and the target q of a row: -sum_k q_k log softmax(y)_k.
template <typename T>
struct MsnRows {
  const T* logits;   // (anchors, prototypes), contiguous
  const T* targets;  // (samples, prototypes), contiguous: row i of the logits has target i % samples
  int64_t anchors, samples, prototypes;
  T scale;
  T* losses;    // (anchors)
  T* tops;      // (anchors), the largest logit
  T* inverses;  // (anchors), 1 / sum_k exp(scale (logit - top))
  T* partial;   // (chunks of kMsnChunk anchors, prototypes), or null
  T* shares;    // (prototypes), the sum over anchors of softmax(y), or null
};

// logits <- (p (1 + levels - <p, levels>) - q) * factor, p = softmax(y).
template <typename T>
struct MsnGradient {
  T* logits;  // as above; overwritten
  const T* targets;
  const T* tops;
  const T* inverses;
  const T* levels;  // (prototypes), or null for 0
  int64_t anchors, samples, prototypes;
  T scale, factor;
};

namespace cpu {

// Instantiated for float and double.
template <typename T>
void msn_rows(const MsnRows<T>& p, int threads);
template <typename T>
void msn_gradient(const MsnGradient<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
