// Softmax over the similarities of rows (N, D) with columns (M, D), tile by tile: logits S = scale * Q K^T, never
// stored as a whole. Row i may have a positive p(i), a column; the entry (i, p(i)) is left out of the sums of its row
// and of its column, and its logit is given apart, see PositivePairs. Further entries can be left out of all sums.
#pragma once

#include "sslfast/excluded.h"
#include "sslfast/similarity_softmax.h"

namespace sslfast {

// rows x cols logits at (row0, col0) of S, contiguous; overwritten by the epilogues.
template <typename T>
struct CrossTile {
  T* logits;
  int64_t rows, cols;
  int64_t row0, col0;
  const Excluded<T>& excluded;  // with positives
};

// Running sums of rows and of columns, as in SimilaritySums; the columns' may be null.
template <typename T>
struct CrossSums {
  T *row_shift, *row_sum;  // (N)
  T *col_shift, *col_sum;  // (M) or null
  T* scratch;              // (cross_scratch(rows, cols)) of the largest tile
  bool bounded;
};

// dL/dS_ij = grad_row_i exp(S_ij - row_lse_i) + grad_col_j exp(S_ij - col_lse_j), less shares.rows_i where i and j are
// of one label, and 0 at j = p(i), whose share is PositivePairs'.
template <typename T>
struct CrossGrads {
  const T *row_lse, *grad_row;  // (N)
  const T *col_lse, *grad_col;  // (M) or null
  T* scratch;
  LabelShares<T> shares;
};

namespace cpu {

int64_t cross_scratch(int64_t rows, int64_t cols);

// Adds a tile of logits to the sums.
void cross_forward_tile(const CrossTile<float>& tile, const CrossSums<float>& sums, int threads);
void cross_forward_tile(const CrossTile<double>& tile, const CrossSums<double>& sums, int threads);

// Overwrites logits S_ij by dL/dS_ij.
void cross_backward_tile(const CrossTile<float>& tile, const CrossGrads<float>& grads, int threads);
void cross_backward_tile(const CrossTile<double>& tile, const CrossGrads<double>& grads, int threads);

}  // namespace cpu
}  // namespace sslfast
