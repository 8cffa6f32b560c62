// What a Gumbel quantiser needs beside its codes: the sums over frames of the softmax of each group's logits, for the
// perplexity, and the gradient of the logits through the softmax with noise (straight through the codes) and through
// those sums.
#pragma once

#include <cstdint>

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

constexpr int64_t kQuantizeChunk = 32;  // frames whose sums one thread takes: they do not depend on the threads

// "sums" stands for the type of sums: double for double, float otherwise.
struct GumbelQuantize {
  const void* logits;  // (frames, groups, vars), contiguous
  Dtype dtype;
  int64_t frames, groups, vars;
  const bool* mask;  // (frames): those that count in the sums; null for all
  int64_t* best;     // (frames, groups): the largest logit; -1 where there is NaN, +inf or nothing but -inf
  void* lse;         // sums (frames, groups)
  void* probs;       // sums (chunks, groups, vars), sums of the softmax
  void* counts;      // sums (chunks, groups, vars), how often an id is the largest; NaN for best = -1
};

struct GumbelQuantizeBackward {
  const void* logits;
  Dtype dtype;
  int64_t frames, groups, vars;
  const bool* mask;
  const void* lse;
  const void* products;  // sums (groups, frames, vars): derivative in the softmax with noise; or null
  const void* shares;    // sums (groups, vars): derivative in the sums of the softmax; or null
  uint64_t seed;
  const int64_t* numbers;  // (frames, groups): the number of each row in the draws
  double temperature;
  void* grad;  // (frames, groups, vars), in dtype
};

namespace cpu {
void gumbel_quantize(const GumbelQuantize& p, int threads);
void gumbel_quantize_backward(const GumbelQuantizeBackward& p, int threads);
}  // namespace cpu

}  // namespace sslfast
