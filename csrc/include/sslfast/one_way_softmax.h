// Softmax cross-entropy of rows (N, D) that have to pick their positive among columns (M, D), and its gradient in the
// same pass: the logits of a strip of rows with all columns are held together, so that the softmax of these rows is
// known whole and their logits are made once.
#pragma once

#include "sslfast/label_shares.h"
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

// What a tile of rows x cols exponentials exp(S_ij - shift_i) is on its way to gradients: share_i exp(S_ij - lse_i).
// With labels, less what entries of one label have; but those of positives, (rows) columns of the tile if they are
// there, are 0.
template <typename T>
struct OneWayWeights {
  const T *shift, *lse, *share;  // (rows)
  LabelShares<T> labels;         // of the tile
  const int64_t* positives;      // (rows)
  int64_t col0;                  // of the tile, from which the positives are counted
};

namespace cpu {

void one_way_rows(const OneWayRows<float>& rows, int64_t count);
void one_way_rows(const OneWayRows<double>& rows, int64_t count);

void one_way_weights(float* tile, int64_t rows, int64_t cols, const OneWayWeights<float>& weights, int threads);
void one_way_weights(double* tile, int64_t rows, int64_t cols, const OneWayWeights<double>& weights, int threads);

}  // namespace cpu
}  // namespace sslfast
