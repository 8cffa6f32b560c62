// Softmax cross-entropy of rows (N, D) that have to pick their positive among columns (M, D), and its gradient in the
// same pass: the logits of a strip of rows with all columns are held together, so that the softmax of these rows is
// known whole and their logits are made once.
#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// A strip's sums over its negatives, and what its rows' losses and gradients come to; each (rows), beginning at the
// strip's first row.
template <typename T>
struct OneWayRows {
  const T *shift, *sum;  // sum_j exp(S_ij) = exp(shift_i) * sum_i
  const T* positive;     // logits of the positives
  const T* known_lse;    // log-sum-exp of further negatives, or null
  const T* weights;      // of the rows' losses, or null for 1
  T *loss, *lse;         // log(1 + exp(lse_i - positive_i)), and lse_i over all negatives
  T* share;              // weights_i times the loss's derivative in lse_i
};

namespace cpu {

void one_way_rows(const OneWayRows<float>& rows, int64_t count);
void one_way_rows(const OneWayRows<double>& rows, int64_t count);

// What a tile of rows x cols exponentials exp(S_ij - shift_i) is on its way to gradients: share_i exp(S_ij - lse_i).
void one_way_weights(float* tile, int64_t rows, int64_t cols, const float* shift, const float* lse, const float* share,
                     int threads);
void one_way_weights(double* tile, int64_t rows, int64_t cols, const double* shift, const double* lse,
                     const double* share, int threads);

}  // namespace cpu
}  // namespace sslfast
