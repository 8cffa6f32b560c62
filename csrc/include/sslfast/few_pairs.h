// Losses of N pairs (row i, column i) among N rows and N columns of width D where N^2 is so small that all logits are
// held at once, and what a call costs beside its products is what a batch waits for: loss and gradients in one call.
#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// What each of n rows, or columns, has to tell its positive from: losses log(1 + exp(lse - positive)), whose
// derivatives in lse are shares. All vectors have n numbers.
template <typename T>
struct PairLosses {
  const T *lse, *positive;  // the log-sum-exp over the negatives, -inf where there is none, and the positive's logit
  int64_t n;
  T share;              // of a loss in the result
  T *shares, *weights;  // shares <- share * sigmoid(lse - positive), and weights, of the positives, <- weights - shares
};

namespace cpu {

// wide (rows, width), contiguous, <- z of that dtype, element (i, k) at i * row_stride + k * col_stride.
void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               float* wide, int threads);
void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               double* wide, int threads);

// Returns the sum of the losses. NaN where a positive's logit is infinite, which may be all that an infinite feature
// makes so, and would count as a perfect pair.
double pair_losses(const PairLosses<float>& losses);
double pair_losses(const PairLosses<double>& losses);

// Returns the sum of the products of grads and units, (rows, width) each, and multiplies grads by the factor.
double sum_and_scale(float* grads, const float* units, int64_t rows, int64_t width, float factor);
double sum_and_scale(double* grads, const double* units, int64_t rows, int64_t width, double factor);

}  // namespace cpu
}  // namespace sslfast
