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

constexpr int64_t kGroup = 32;  // rows; the sums of a group's columns (4 KiB) stay in L1

int64_t groups(int64_t rows) { return (rows + kGroup - 1) / kGroup; }

// A NaN is above no limit, and the sums must show it.
template <typename T>
inline __attribute__((always_inline)) bool counts(T logit, T limit) {
  return !(logit > limit) && logit != -kInf<T>;
}

// The largest logit of a row that counts for it, -inf if there is none; and so for the columns.
template <typename T>
inline __attribute__((always_inline)) T max_body(const T* s, int64_t n, T limit, const T* limits, T* maxima) {
  T best = -kInf<T>;
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < n; ++j) {
    const T in_row = s[j] > limit ? -kInf<T> : s[j], in_column = s[j] > limits[j] ? -kInf<T> : s[j];
    best = in_row > best ? in_row : best;
    maxima[j] = in_column > maxima[j] ? in_column : maxima[j];
  }
  return best;
}

template <typename T>
struct RowSums {
  T sum, total, count;
};

// Sums of a tile's columns over some rows.
template <typename T>
struct ColumnSums {
  T *sum, *total, *count;
};

template <typename T>
inline __attribute__((always_inline)) RowSums<T> add_body(const T* s, int64_t n, T limit, T shift, const T* limits,
                                                          const T* shifts, ColumnSums<T> columns) {
  T sum = 0, total = 0, count = 0;
  T *col_sum = columns.sum, *col_total = columns.total, *col_count = columns.count;
#pragma omp simd reduction(+ : sum, total, count)
  for (int64_t j = 0; j < n; ++j) {
    const bool in_row = counts(s[j], limit), in_column = counts(s[j], limits[j]);
    const T row_term = vector_exp(s[j] - shift), col_term = vector_exp(s[j] - shifts[j]);
    sum += in_row ? row_term : T(0);
    total += in_row ? s[j] : T(0);
    count += in_row ? T(1) : T(0);
    col_sum[j] += in_column ? col_term : T(0);
    col_total[j] += in_column ? s[j] : T(0);
    col_count[j] += in_column ? T(1) : T(0);
  }
  return {sum, total, count};
}

template <typename T>
inline __attribute__((always_inline)) void weigh_body(T* s, int64_t n, T limit, T lse, T grad_lse, T grad_total,
                                                      LimitedGrads<T> columns) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T row_term = grad_lse * vector_exp(s[j] - lse) + grad_total;
    const T col_term = columns.grad_lse[j] * vector_exp(s[j] - columns.lse[j]) + columns.grad_total[j];
    const bool in_row = counts(s[j], limit), in_column = counts(s[j], columns.limits[j]);
    s[j] = (in_row ? row_term : T(0)) + (in_column ? col_term : T(0));
  }
}

SSLFAST_ISA_CLONES float row_max(const float* s, int64_t n, float limit, const float* limits, float* maxima) {
  return max_body(s, n, limit, limits, maxima);
}
double row_max(const double* s, int64_t n, double limit, const double* limits, double* maxima) {
  return max_body(s, n, limit, limits, maxima);
}

SSLFAST_ISA_CLONES RowSums<float> add_row(const float* s, int64_t n, float limit, float shift, const float* limits,
                                          const float* shifts, ColumnSums<float> columns) {
  return add_body(s, n, limit, shift, limits, shifts, columns);
}
RowSums<double> add_row(const double* s, int64_t n, double limit, double shift, const double* limits,
                        const double* shifts, ColumnSums<double> columns) {
  return add_body(s, n, limit, shift, limits, shifts, columns);
}

SSLFAST_ISA_CLONES void weigh_row(float* s, int64_t n, float limit, float lse, float grad_lse, float grad_total,
                                  LimitedGrads<float> columns) {
  weigh_body(s, n, limit, lse, grad_lse, grad_total, columns);
}
void weigh_row(double* s, int64_t n, double limit, double lse, double grad_lse, double grad_total,
               LimitedGrads<double> columns) {
  weigh_body(s, n, limit, lse, grad_lse, grad_total, columns);
}

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
  exclude(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const int64_t count = groups(t.rows), size = count * t.cols;
  T *row_shift = scratch, *col_shift = row_shift + t.rows, *by_group = col_shift + t.cols;  // (3, count, cols)
  const T *row_limits = rows.limits + t.row0, *col_limits = columns.limits + t.col0;
  const auto each_row = [&](int64_t group, auto visit) {
    for (int64_t i = group * kGroup; i < std::min(t.rows, (group + 1) * kGroup); ++i) visit(i, t.logits + i * t.cols);
  };
  share_out(count, threads, [&](int64_t g) {
    T* maxima = by_group + g * t.cols;
    std::fill_n(maxima, t.cols, -kInf<T>);
    each_row(
        g, [&](int64_t i, const T* s) { row_shift[i] = safe(row_max(s, t.cols, row_limits[i], col_limits, maxima)); });
  });
  for (int64_t j = 0; j < t.cols; ++j) {
    T best = by_group[j];
    for (int64_t g = 1; g < count; ++g) best = std::max(best, by_group[g * t.cols + j]);
    col_shift[j] = safe(best);
  }
  std::fill_n(by_group, 3 * size, T(0));
  share_out(count, threads, [&](int64_t g) {
    const ColumnSums<T> own{by_group + g * t.cols, by_group + size + g * t.cols, by_group + 2 * size + g * t.cols};
    each_row(g, [&](int64_t i, const T* s) {
      const RowSums<T> found = add_row(s, t.cols, row_limits[i], row_shift[i], col_limits, col_shift, own);
      add_to(rows, t.row0 + i, row_shift[i], found.sum, found.total, found.count);
    });
  });
  for (int64_t j = 0; j < t.cols; ++j) {
    T sums[3] = {};
    for (int64_t g = 0; g < count; ++g) {
      for (int64_t k = 0; k < 3; ++k) sums[k] += by_group[k * size + g * t.cols + j];
    }
    add_to(columns, t.col0 + j, col_shift[j], sums[0], sums[1], sums[2]);
  }
}

template <typename T>
void backward_tile(const CrossTile<T>& t, const LimitedGrads<T>& rows, const LimitedGrads<T>& columns, int threads) {
  exclude(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const LimitedGrads<T> own{columns.limits + t.col0, columns.lse + t.col0, columns.grad_lse + t.col0,
                            columns.grad_total + t.col0};
  share_out(t.rows, t.rows > kGroup ? threads : 1, [&](int64_t i) {
    const int64_t row = t.row0 + i;
    weigh_row(t.logits + i * t.cols, t.cols, rows.limits[row], rows.lse[row], rows.grad_lse[row], rows.grad_total[row],
              own);
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
