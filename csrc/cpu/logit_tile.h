// What a tile of logits adds to the log-sum-exps of its rows and of its columns, and how it turns into their gradients.
// Shared by the operators of csrc/ops that make the logits with a matrix product: a tile (512 x 256 floats, 512 KiB) is
// still in L2 when it is read here. Rows are shared out among threads in fixed groups, and column sums are
// first kept per group: the result does not depend on the number of threads. Excluded entries are -inf.
#pragma once

#include <cstdint>
#include <limits>

#include "sslfast/label_shares.h"

namespace sslfast::cpu {

template <typename T>
constexpr T kInf = std::numeric_limits<T>::infinity();

// Elements of scratch that either function below wants for a tile.
int64_t logit_scratch(int64_t rows, int64_t cols);

// exp(shift) * sum + exp(other_shift) * other_sum, as (shift, sum)
template <typename T>
void merge_sums(T& shift, T& sum, T other_shift, T other_sum);

// Running sums of a side of the tile, beginning at its first row or column: sum_j exp(S_j) = exp(shift) * sum.
template <typename T>
struct TileSums {
  T* shift;
  T* sum;  // null: this side is not wanted
};

// bounded says that no logit exceeds kLogitBound in absolute value and that every shift is zero.
template <typename T>
void add_tile(T* logits, int64_t rows, int64_t cols, TileSums<T> row_sums, TileSums<T> col_sums, bool bounded,
              T* scratch, int threads);

// A side's log-sum-exps n and their gradients a, beginning at the tile's first row or column.
template <typename T>
struct TileGrads {
  const T* lse;
  const T* grad;  // null: this side is not wanted
};

// S_ij <- a_i exp(S_ij - n_i) + a_j exp(S_ij - n_j), with the terms of the sides that are wanted, less the shares,
// which begin at the tile's first row and column. Excluded entries become 0, but for shares.
template <typename T>
void weigh_tile(T* logits, int64_t rows, int64_t cols, TileGrads<T> row_grads, TileGrads<T> col_grads,
                const LabelShares<T>& shares, T* scratch, int threads);

}  // namespace sslfast::cpu
