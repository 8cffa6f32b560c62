#include "logit_tile.h"

#include <algorithm>
#include <cmath>

#include "logit_rows.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kGroup = 32;  // rows; a group's column sums (4 KiB) stay in L1

int64_t groups(int64_t rows) { return (rows + kGroup - 1) / kGroup; }

// Sums whose largest terms are exp of this less than 0 keep their precision, and those far below them are lost beside
// them.
template <typename T>
constexpr T kTogether = T(40);

// Where nothing was summed, all logits are -inf, and exp(-inf - 0) is the 0 that exp(-inf + inf) is not.
template <typename T>
T safe(T lse) {
  return lse == -kInf<T> ? T(0) : lse;
}

template <typename T>
void extremes(const T* lse, int64_t n, T& low, T& high) {
  for (int64_t k = 0; k < n; ++k) {
    if (lse[k] == -kInf<T>) continue;
    low = std::min(low, lse[k]);
    high = std::max(high, lse[k]);
  }
}

}  // namespace

int64_t logit_scratch(int64_t rows, int64_t cols) { return 2 * rows + cols + groups(rows) * cols; }

template <typename T>
void merge_sums(T& shift, T& sum, T other_shift, T other_sum) {
  if (other_shift == shift) {
    sum += other_sum;
  } else if (other_shift > shift) {
    sum = sum * std::exp(shift - other_shift) + other_sum;
    shift = other_shift;
  } else {
    sum += other_sum * std::exp(other_shift - shift);
  }
}

// Finds what to subtract from the logits before exp: one number for the tile, which is returned as true, where no
// maximum of a row or column lies far below another, or every row's and every column's own maximum.
template <typename T>
bool find_shifts(const T* logits, int64_t rows, int64_t cols, bool by_row, bool by_col, T* row_shift, T* col_shift,
                 T* group_maxima, int threads) {
  const int64_t count = groups(rows);
  share_out(count, threads, [&](int64_t g) {
    T* maxima = group_maxima + g * cols;
    if (by_col) std::fill_n(maxima, cols, -kInf<T>);
    for (int64_t i = g * kGroup; i < std::min(rows, (g + 1) * kGroup); ++i) {
      const T* s = logits + i * cols;
      row_shift[i] = by_col ? row_max_by_column(s, cols, maxima) : row_max(s, cols);
    }
  });
  if (!by_col) return false;
  std::copy_n(group_maxima, cols, col_shift);
  for (int64_t g = 1; g < count; ++g) row_max_by_column(group_maxima + g * cols, cols, col_shift);
  T low = kInf<T>, high = -kInf<T>;
  if (by_row) extremes(row_shift, rows, low, high);
  extremes(col_shift, cols, low, high);
  const bool together = low > high || high - low < kTogether<T>;
  const T shift = low > high ? T(0) : high;
  // Where there is nothing to sum, or NaN, which the sums must show, the maximum is -inf.
  for (int64_t i = 0; i < rows; ++i) row_shift[i] = together ? shift : safe(row_shift[i]);
  for (int64_t j = 0; j < cols; ++j) col_shift[j] = together ? shift : safe(col_shift[j]);
  return together;
}

template <typename T>
void add_tile(T* logits, int64_t rows, int64_t cols, TileSums<T> row_sums, TileSums<T> col_sums, bool bounded,
              T* scratch, int threads) {
  const int64_t count = groups(rows);
  const bool by_row = row_sums.sum != nullptr, by_col = col_sums.sum != nullptr;
  T *totals = scratch, *row_shift = totals + rows, *col_shift = row_shift + rows;
  T* col_totals = col_shift + cols;  // (count, cols)
  const bool together =
      bounded || find_shifts(logits, rows, cols, by_row, by_col, row_shift, col_shift, col_totals, threads);
  share_out(count, threads, [&](int64_t g) {
    T* group_totals = col_totals + g * cols;
    std::fill_n(group_totals, cols, T(0));
    for (int64_t i = g * kGroup; i < std::min(rows, (g + 1) * kGroup); ++i) {
      const T* s = logits + i * cols;
      const T shift = bounded ? T(0) : safe(row_shift[i]);
      totals[i] = together || !by_col ? row_exp(s, cols, shift, group_totals)
                                      : row_exp_apart(s, cols, shift, col_shift, group_totals);
    }
  });
  // A sum is 0 where there is nothing to sum, and then has no shift.
  for (int64_t i = 0; i < rows && by_row; ++i) {
    if (bounded) {
      row_sums.sum[i] += totals[i];
    } else if (totals[i] != 0) {
      merge_sums(row_sums.shift[i], row_sums.sum[i], safe(row_shift[i]), totals[i]);
    }
  }
  if (!by_col) return;
  for (int64_t g = 1; g < count; ++g) row_add(col_totals, col_totals + g * cols, cols);
  for (int64_t j = 0; j < cols; ++j) {
    if (bounded) {
      col_sums.sum[j] += col_totals[j];
    } else if (col_totals[j] != 0) {
      merge_sums(col_sums.shift[j], col_sums.sum[j], col_shift[j], col_totals[j]);
    }
  }
}

template <typename T>
void weigh_tile(T* logits, int64_t rows, int64_t cols, TileGrads<T> row_grads, TileGrads<T> col_grads,
                const LabelShares<T>& shares, T* scratch, int threads) {
  // With one center for the tile, both terms share one exp:
  // a_i exp(s - n_i) + a_j exp(s - n_j) = exp(s - c) (a_i exp(c - n_i) + a_j exp(c - n_j)).
  const bool by_row = row_grads.grad != nullptr, by_col = col_grads.grad != nullptr;
  T low = kInf<T>, high = -kInf<T>;
  if (by_row) extremes(row_grads.lse, rows, low, high);
  if (by_col) extremes(col_grads.lse, cols, low, high);
  const bool together = high - low < T(60) || !by_col;
  const T center = low > high ? T(0) : low + (high - low) / 2;
  T *weights = scratch, *col_lse = scratch + cols;  // (cols) each
  std::fill_n(weights, cols, T(0));
  for (int64_t j = 0; j < cols && by_col; ++j) {
    const T a = col_grads.grad[j];
    col_lse[j] = safe(col_grads.lse[j]);
    weights[j] = together && a != 0 ? a * std::exp(center - col_lse[j]) : a;
  }
  share_out(rows, rows > kGroup ? threads : 1, [&](int64_t i) {
    T* s = logits + i * cols;
    const T a = by_row ? row_grads.grad[i] : T(0), lse = by_row ? safe(row_grads.lse[i]) : T(0);
    if (!by_col) {
      row_weights(s, cols, lse, a, weights);
    } else if (together) {
      row_weights(s, cols, center, a != 0 ? a * std::exp(center - lse) : a, weights);
    } else {
      row_weights_apart(s, cols, lse, a, col_lse, weights);
    }
    if (shares.row_labels != nullptr) {
      row_subtract_shares(s, cols, shares.col_labels, shares.row_labels[i], shares.rows[i], shares.cols);
    }
  });
}

#define SSLFAST_INSTANTIATE(T)                                                           \
  template void merge_sums(T&, T&, T, T);                                                \
  template void add_tile(T*, int64_t, int64_t, TileSums<T>, TileSums<T>, bool, T*, int); \
  template void weigh_tile(T*, int64_t, int64_t, TileGrads<T>, TileGrads<T>, const LabelShares<T>&, T*, int)
SSLFAST_INSTANTIATE(float);
SSLFAST_INSTANTIATE(double);
#undef SSLFAST_INSTANTIATE

}  // namespace sslfast::cpu
