// Softmax over the similarities of rows (N, D) with columns (M, D) both ways, where a row leaves out the logits above
// its limit, and a column those above its own, or of rows alone: tile by tile, from logits S = scale * Q K^T that are
// made once for both. With the log-sum-exps come the sums of the logits that count, and their numbers, which label
// smoothing takes the mean of. Positives and entries of equal ids count for neither side.
#pragma once

#include "sslfast/cross_softmax.h"

namespace sslfast {

// What the logits of a side's rows or columns, those up to the limits, come to.
template <typename T>
struct LimitedSums {
  const T* limits;  // below +inf, which marks positives and equal ids; of columns null, where these are not wanted
  T *shift, *sum;   // of exp(S): exp(shift) * sum
  T* total;         // of S
  int64_t* count;
};

template <typename T>
struct LimitedGrads {
  const T* limits;  // as there
  const T *lse, *grad_lse;
  const T* grad_total;
};

namespace cpu {

// Elements of scratch of the functions below, for a tile.
int64_t limited_scratch(int64_t rows, int64_t cols);

// Adds a tile of logits to the sums of rows (N) and of columns (M). Positives and entries of equal ids are left +inf.
void limited_forward_tile(const CrossTile<float>& tile, const LimitedSums<float>& rows,
                          const LimitedSums<float>& columns, float* scratch, int threads);
void limited_forward_tile(const CrossTile<double>& tile, const LimitedSums<double>& rows,
                          const LimitedSums<double>& columns, double* scratch, int threads);

// Overwrites logits S_ij by dL/dS_ij: grad_lse exp(S_ij - lse) + grad_total of the row, and of the column, each where
// S_ij counts for it.
void limited_backward_tile(const CrossTile<float>& tile, const LimitedGrads<float>& rows,
                           const LimitedGrads<float>& columns, int threads);
void limited_backward_tile(const CrossTile<double>& tile, const LimitedGrads<double>& rows,
                           const LimitedGrads<double>& columns, int threads);

}  // namespace cpu
}  // namespace sslfast
