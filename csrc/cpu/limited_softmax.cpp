// The epilogues of the tiles of limited_softmax. Rows are shared out among threads in fixed groups, whose column sums
// are kept apart: the result does not depend on the number of threads.
#include "sslfast/limited_softmax.h"

#include <algorithm>
#include <limits>

#include "isa.h"
#include "logit_tile.h"
#include "team.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kGroup = 32;  // rows; the three sums of a group's columns (3 KiB of floats) stay in L1

int64_t groups(int64_t rows) { return (rows + kGroup - 1) / kGroup; }

// A NaN is above no limit, and the sums must show it. What counts for neither side is +inf.
template <typename T>
inline __attribute__((always_inline)) bool counts(T logit, T limit) {
  return !(logit > limit);
}

// The largest logit of a row that counts for it, -inf if there is none; and, with limits, so for the columns.
template <bool kColumns, typename T>
inline __attribute__((always_inline)) T max_body(const T* s, int64_t n, T limit, const T* limits, T* maxima) {
  T best = -kInf<T>;
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < n; ++j) {
    const T in_row = s[j] > limit ? -kInf<T> : s[j];
    best = in_row > best ? in_row : best;
    if constexpr (kColumns) {
      const T in_column = s[j] > limits[j] ? -kInf<T> : s[j];
      maxima[j] = in_column > maxima[j] ? in_column : maxima[j];
    }
  }
  return best;
}

template <typename T>
struct RowSums {
  T sum, total, count;
};

// Of a tile's columns: limits, null where they are not wanted, what to subtract, and the sums over some rows.
template <typename T>
struct ColumnSums {
  const T *limits, *shift;
  T *sum, *total, *count;
};

template <bool kColumns, typename T>
inline __attribute__((always_inline)) RowSums<T> add_body(const T* s, int64_t n, T limit, T shift,
                                                          const ColumnSums<T>& columns) {
  const auto [limits, col_shift, col_sum, col_total, col_count] = columns;
  T sum = 0, total = 0, count = 0;
#pragma omp simd reduction(+ : sum, total, count)
  for (int64_t j = 0; j < n; ++j) {
    const bool in_row = counts(s[j], limit);
    const T row_term = vector_exp(s[j] - shift);
    sum += in_row ? row_term : T(0);
    total += in_row ? s[j] : T(0);
    count += in_row ? T(1) : T(0);
    if constexpr (kColumns) {
      const bool in_column = counts(s[j], limits[j]);
      const T col_term = vector_exp(s[j] - col_shift[j]);
      col_sum[j] += in_column ? col_term : T(0);
      col_total[j] += in_column ? s[j] : T(0);
      col_count[j] += in_column ? T(1) : T(0);
    }
  }
  return {sum, total, count};
}

template <bool kColumns, typename T>
inline __attribute__((always_inline)) void weigh_body(T* s, int64_t n, T limit, T lse, T grad_lse, T grad_total,
                                                      const LimitedGrads<T>& columns) {
  const auto [limits, col_lse, col_grad_lse, col_grad_total] = columns;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T row_term = grad_lse * vector_exp(s[j] - lse) + grad_total;
    T weight = counts(s[j], limit) ? row_term : T(0);
    if constexpr (kColumns) {
      const T col_term = col_grad_lse[j] * vector_exp(s[j] - col_lse[j]) + col_grad_total[j];
      weight += counts(s[j], limits[j]) ? col_term : T(0);
    }
    s[j] = weight;
  }
}

// Each body for rows alone, and with columns; of floats once per instruction set.
#define SSLFAST_DEFINE(CLONES, T, NAME, COLUMNS)                                                        \
  CLONES T NAME##_max(const T* s, int64_t n, T limit, const T* limits, T* maxima) {                     \
    return max_body<COLUMNS>(s, n, limit, limits, maxima);                                              \
  }                                                                                                     \
  CLONES RowSums<T> NAME##_add(const T* s, int64_t n, T limit, T shift, const ColumnSums<T>& columns) { \
    return add_body<COLUMNS>(s, n, limit, shift, columns);                                              \
  }                                                                                                     \
  CLONES void NAME##_weigh(T* s, int64_t n, T limit, T lse, T grad_lse, T grad_total,                   \
                           const LimitedGrads<T>& columns) {                                            \
    weigh_body<COLUMNS>(s, n, limit, lse, grad_lse, grad_total, columns);                               \
  }
SSLFAST_DEFINE(SSLFAST_ISA_CLONES, float, one_way, false)
SSLFAST_DEFINE(SSLFAST_ISA_CLONES, float, two_way, true)
SSLFAST_DEFINE(, double, one_way, false)
SSLFAST_DEFINE(, double, two_way, true)
#undef SSLFAST_DEFINE

// Where nothing counts nothing is subtracted, which -inf could not be.
template <typename T>
T safe(T maximum) {
  return maximum == -kInf<T> ? T(0) : maximum;
}

template <typename T>
void add_to(const LimitedSums<T>& sums, int64_t place, T shift, T sum, T total, T count) {
  if (sum != 0) merge_sums(sums.shift[place], sums.sum[place], shift, sum);
  sums.total[place] += total;
  sums.count[place] += static_cast<int64_t>(count);
}

template <typename T>
void forward_tile(const CrossTile<T>& t, const LimitedSums<T>& rows, const LimitedSums<T>& columns, T* scratch,
                  int threads) {
  exclude_above(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const bool both = columns.limits != nullptr;
  const int64_t count = groups(t.rows), size = count * t.cols;
  T *row_shift = scratch, *col_shift = row_shift + t.rows, *by_group = col_shift + t.cols;  // (3, count, cols)
  const T *row_limits = rows.limits + t.row0, *col_limits = both ? columns.limits + t.col0 : nullptr;
  const auto each_row = [&](int64_t group, auto visit) {
    for (int64_t i = group * kGroup; i < std::min(t.rows, (group + 1) * kGroup); ++i) visit(i, t.logits + i * t.cols);
  };
  share_out(count, threads, [&](int64_t g) {
    T* maxima = by_group + g * t.cols;
    if (both) std::fill_n(maxima, t.cols, -kInf<T>);
    each_row(g, [&](int64_t i, const T* s) {
      row_shift[i] = safe(both ? two_way_max(s, t.cols, row_limits[i], col_limits, maxima)
                               : one_way_max(s, t.cols, row_limits[i], col_limits, maxima));
    });
  });
  for (int64_t j = 0; j < t.cols && both; ++j) {
    T best = by_group[j];
    for (int64_t g = 1; g < count; ++g) best = std::max(best, by_group[g * t.cols + j]);
    col_shift[j] = safe(best);
  }
  share_out(count, threads, [&](int64_t g) {
    ColumnSums<T> own{col_limits, col_shift, by_group + g * t.cols, by_group + size + g * t.cols,
                      by_group + 2 * size + g * t.cols};
    for (T* sums : {own.sum, own.total, own.count}) {
      if (both) std::fill_n(sums, t.cols, T(0));
    }
    each_row(g, [&](int64_t i, const T* s) {
      const RowSums<T> found = both ? two_way_add(s, t.cols, row_limits[i], row_shift[i], own)
                                    : one_way_add(s, t.cols, row_limits[i], row_shift[i], own);
      add_to(rows, t.row0 + i, row_shift[i], found.sum, found.total, found.count);
    });
  });
  for (int64_t j = 0; j < t.cols && both; ++j) {
    T sums[3] = {};
    for (int64_t g = 0; g < count; ++g) {
      for (int64_t k = 0; k < 3; ++k) sums[k] += by_group[k * size + g * t.cols + j];
    }
    add_to(columns, t.col0 + j, col_shift[j], sums[0], sums[1], sums[2]);
  }
}

template <typename T>
void backward_tile(const CrossTile<T>& t, const LimitedGrads<T>& rows, const LimitedGrads<T>& columns, int threads) {
  exclude_above(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const bool both = columns.limits != nullptr;
  const LimitedGrads<T> own = both ? LimitedGrads<T>{columns.limits + t.col0, columns.lse + t.col0,
                                                     columns.grad_lse + t.col0, columns.grad_total + t.col0}
                                   : LimitedGrads<T>{};
  share_out(t.rows, t.rows > kGroup ? threads : 1, [&](int64_t i) {
    T* s = t.logits + i * t.cols;
    const int64_t k = t.row0 + i;
    if (both) {
      two_way_weigh(s, t.cols, rows.limits[k], rows.lse[k], rows.grad_lse[k], rows.grad_total[k], own);
    } else {
      one_way_weigh(s, t.cols, rows.limits[k], rows.lse[k], rows.grad_lse[k], rows.grad_total[k], own);
    }
  });
}

}  // namespace

int64_t limited_scratch(int64_t rows, int64_t cols) { return rows + cols + 3 * groups(rows) * cols; }

#define SSLFAST_DEFINE(T)                                                                                           \
  void limited_forward_tile(const CrossTile<T>& tile, const LimitedSums<T>& rows, const LimitedSums<T>& columns,    \
                            T* scratch, int threads) {                                                              \
    forward_tile(tile, rows, columns, scratch, threads);                                                            \
  }                                                                                                                 \
  void limited_backward_tile(const CrossTile<T>& tile, const LimitedGrads<T>& rows, const LimitedGrads<T>& columns, \
                             int threads) {                                                                         \
    backward_tile(tile, rows, columns, threads);                                                                    \
  }
SSLFAST_DEFINE(float)
SSLFAST_DEFINE(double)
#undef SSLFAST_DEFINE

}  // namespace sslfast::cpu
