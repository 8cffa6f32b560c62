// Losses of two views of N samples, 2N rows each of which is compared with all others and has the other view of its
// sample for a positive, where (2N)^2 is so small that all logits are held at once: what becomes of the log-sum-exps
// that similarity_softmax.h makes. NT-Xent's losses are few_pairs.h's; the rest is here.
#pragma once

#include <cstdint>

namespace sslfast {

// Decoupled losses lse_i - weights_i * positive_i of n rows, whose derivatives in lse are `share`.
template <typename T>
struct DecoupledLosses {
  const T *lse, *positive;
  const T* weights;  // of the positives' logits; null for 1 each
  int64_t n;
  T share;            // of a loss in the result
  T *shares, *pulls;  // shares <- share; pulls, derivatives in the positives' logits, <- -share * weights
};

namespace cpu {

// Returns the sum of the losses.
double decoupled_losses(const DecoupledLosses<float>& losses);
double decoupled_losses(const DecoupledLosses<double>& losses);

// The numbers x of `samples` samples, (2, samples), of which both views have the same, <- 2 - samples * softmax(x).
void mises_fisher_weights(float* x, int64_t samples);
void mises_fisher_weights(double* x, int64_t samples);

}  // namespace cpu
}  // namespace sslfast
