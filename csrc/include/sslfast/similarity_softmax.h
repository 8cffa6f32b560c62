// Softmax over the similarities of rows with themselves, tile by tile: logits S = scale * X X^T of X (M, D), never
// stored as a whole. Row i may have a positive p(i); its negatives are all j other than i and p(i). Because S is
// symmetric, only tiles on and above the diagonal are computed: a tile above it serves its rows and, transposed, its
// columns; a tile on it, computed whole, serves its rows alone.
#pragma once

#include "sslfast/label_shares.h"
#include "sslfast/launch.h"

namespace sslfast {

// rows x cols logits at (row0, col0) of S, contiguous; overwritten by the epilogues. Above the diagonal col0 >= row0 +
// rows, on it row0 == col0 and rows == cols.
template <typename T>
struct SimilarityTile {
  T* logits;
  int64_t rows, cols;
  int64_t row0, col0;
  const int64_t* positives;  // (M), -1 where a row has none
};

// Up to this |S_ij| exp neither overflows nor underflows: every shift is zero and the pass for the maximum is saved.
constexpr double kLogitBound = 40;

// Running sums over the negatives: sum_j exp(S_ij) = exp(shift_i) * sum_i. bounded says that no |S_ij| exceeds
// kLogitBound.
template <typename T>
struct SimilaritySums {
  T* shift;            // (M)
  T* sum;              // (M)
  T* positive_logits;  // (M)
  T* scratch;          // (similarity_scratch(rows, cols)) of the largest tile
  bool bounded;
};

// What turns logits into gradients: with n_i the log-sum-exp over the negatives of row i,
// dL/dS_ij = grad_lse_i exp(S_ij - n_i), less shares.rows_i where i and j are of one label, and 0 at j = p(i), whose
// share is PositivePairs'. At a positive of either row no share is taken off.
template <typename T>
struct SimilarityGrads {
  const T* lse;       // (M)
  const T* grad_lse;  // (M)
  T* scratch;
  LabelShares<T> shares;  // of rows and columns, which are the same
};

namespace cpu {

int64_t similarity_scratch(int64_t rows, int64_t cols);

// Adds a tile of logits to the sums of its rows and, above the diagonal, of its columns; reads positive logits off it.
// What it leaves of the logits is what the backward tile wants.
void similarity_forward_tile(const SimilarityTile<float>& tile, const SimilaritySums<float>& sums, int threads);
void similarity_forward_tile(const SimilarityTile<double>& tile, const SimilaritySums<double>& sums, int threads);

// Overwrites logits S_ij by dL/dS_ij + dL/dS_ji, the weight with which row j enters the gradient of row i.
void similarity_backward_tile(const SimilarityTile<float>& tile, const SimilarityGrads<float>& grads, int threads);
void similarity_backward_tile(const SimilarityTile<double>& tile, const SimilarityGrads<double>& grads, int threads);

}  // namespace cpu
}  // namespace sslfast
