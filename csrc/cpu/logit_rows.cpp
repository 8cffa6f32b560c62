#include "logit_rows.h"

#include <limits>
#include <type_traits>

#include "isa.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

template <typename T>
inline __attribute__((always_inline)) T max_body(const T* s, int64_t n) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < n; ++j) best = s[j] > best ? s[j] : best;
  return best;
}

template <typename T>
inline __attribute__((always_inline)) T max_by_column_body(const T* s, int64_t n, T* maxima) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < n; ++j) {
    best = s[j] > best ? s[j] : best;
    maxima[j] = s[j] > maxima[j] ? s[j] : maxima[j];
  }
  return best;
}

template <typename T>
inline __attribute__((always_inline)) T exp_body(const T* s, int64_t n, T shift, T* column_sums) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const T e = vector_exp(s[j] - shift);
    total += e;
    column_sums[j] += e;
  }
  return total;
}

// Where logits lie this far apart from what is subtracted, exp is 0: a row with shifts of its own has many of them.
template <typename T>
constexpr T kLost = std::is_same_v<T, float> ? T(-88) : T(-750);

constexpr int64_t kLanes = 16;  // are looked at together

// Whether one of n logits, or a NaN, is not lost.
template <typename T>
inline __attribute__((always_inline)) bool some_count(const T* s, int64_t n, T shift, const T* column_shift) {
  int32_t some = 0;
#pragma omp simd reduction(| : some)
  for (int64_t j = 0; j < n; ++j) {
    const bool lost = s[j] - shift < kLost<T>, lost_in_column = s[j] - column_shift[j] < kLost<T>;
    some |= lost && lost_in_column ? 0 : 1;
  }
  return some != 0;
}

template <typename T>
inline __attribute__((always_inline)) T exp_apart_body(const T* s, int64_t n, T shift, const T* column_shift,
                                                       T* column_sums) {
  T total = 0;
  const auto add = [&](int64_t j0, int64_t count) __attribute__((always_inline)) {
    if (!some_count(s + j0, count, shift, column_shift + j0)) return;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = j0; j < j0 + count; ++j) {
      sum += vector_exp(s[j] - shift);
      column_sums[j] += vector_exp(s[j] - column_shift[j]);
    }
    total += sum;
  };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) add(j, kLanes);
  add(j, n - j);
  return total;
}

template <typename T>
inline __attribute__((always_inline)) T exp_in_place_body(T* s, int64_t n, T shift) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    s[j] = vector_exp(s[j] - shift);
    total += s[j];
  }
  return total;
}

template <typename T>
inline __attribute__((always_inline)) void weights_body(T* s, int64_t n, T center, T weight, const T* columns) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] = vector_exp(s[j] - center) * (weight + columns[j]);
}

template <typename T>
inline __attribute__((always_inline)) void weights_apart_body(T* s, int64_t n, T lse, T weight, const T* column_lse,
                                                              const T* columns) {
  const auto weigh = [&](int64_t j0, int64_t count) __attribute__((always_inline)) {
    if (!some_count(s + j0, count, lse, column_lse + j0)) {
      for (int64_t j = j0; j < j0 + count; ++j) s[j] = 0;
      return;
    }
#pragma omp simd
    for (int64_t j = j0; j < j0 + count; ++j) {
      s[j] = weight * vector_exp(s[j] - lse) + columns[j] * vector_exp(s[j] - column_lse[j]);
    }
  };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) weigh(j, kLanes);
  weigh(j, n - j);
}

template <typename T>
inline __attribute__((always_inline)) void subtract_shares_body(T* s, int64_t n, const int32_t* labels, int32_t label,
                                                                T share, const T* columns) {
  if (columns == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] -= labels[j] == label ? share : T(0);
    return;
  }
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] -= labels[j] == label ? share + columns[j] : T(0);
}

template <typename T>
inline __attribute__((always_inline)) void add_body(T* to, const T* from, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) to[j] += from[j];
}

template <typename T>
inline __attribute__((always_inline)) void scale_body(T* s, int64_t n, T factor) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] *= factor;
}

template <typename T>
inline __attribute__((always_inline)) void exclude_id_body(T* s, int64_t n, const int64_t* ids, int64_t id, T mark) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] = ids[j] == id ? mark : s[j];
}

template <typename T>
inline __attribute__((always_inline)) void exclude_above_body(T* s, int64_t n, T limit) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] = s[j] > limit ? -std::numeric_limits<T>::infinity() : s[j];
}

}  // namespace

SSLFAST_ISA_CLONES float row_max(const float* s, int64_t n) { return max_body(s, n); }
double row_max(const double* s, int64_t n) { return max_body(s, n); }

SSLFAST_ISA_CLONES float row_max_by_column(const float* s, int64_t n, float* maxima) {
  return max_by_column_body(s, n, maxima);
}
double row_max_by_column(const double* s, int64_t n, double* maxima) { return max_by_column_body(s, n, maxima); }

SSLFAST_ISA_CLONES float row_exp(const float* s, int64_t n, float shift, float* column_sums) {
  return exp_body(s, n, shift, column_sums);
}
double row_exp(const double* s, int64_t n, double shift, double* column_sums) {
  return exp_body(s, n, shift, column_sums);
}

SSLFAST_ISA_CLONES float row_exp_apart(const float* s, int64_t n, float shift, const float* column_shift,
                                       float* column_sums) {
  return exp_apart_body(s, n, shift, column_shift, column_sums);
}
double row_exp_apart(const double* s, int64_t n, double shift, const double* column_shift, double* column_sums) {
  return exp_apart_body(s, n, shift, column_shift, column_sums);
}

SSLFAST_ISA_CLONES float row_exp_in_place(float* s, int64_t n, float shift) { return exp_in_place_body(s, n, shift); }
double row_exp_in_place(double* s, int64_t n, double shift) { return exp_in_place_body(s, n, shift); }

SSLFAST_ISA_CLONES void row_weights(float* s, int64_t n, float center, float weight, const float* columns) {
  weights_body(s, n, center, weight, columns);
}
void row_weights(double* s, int64_t n, double center, double weight, const double* columns) {
  weights_body(s, n, center, weight, columns);
}

SSLFAST_ISA_CLONES void row_weights_apart(float* s, int64_t n, float lse, float weight, const float* column_lse,
                                          const float* columns) {
  weights_apart_body(s, n, lse, weight, column_lse, columns);
}
void row_weights_apart(double* s, int64_t n, double lse, double weight, const double* column_lse,
                       const double* columns) {
  weights_apart_body(s, n, lse, weight, column_lse, columns);
}

SSLFAST_ISA_CLONES void row_subtract_shares(float* s, int64_t n, const int32_t* labels, int32_t label, float share,
                                            const float* columns) {
  subtract_shares_body(s, n, labels, label, share, columns);
}
void row_subtract_shares(double* s, int64_t n, const int32_t* labels, int32_t label, double share,
                         const double* columns) {
  subtract_shares_body(s, n, labels, label, share, columns);
}

SSLFAST_ISA_CLONES void row_add(float* to, const float* from, int64_t n) { add_body(to, from, n); }
void row_add(double* to, const double* from, int64_t n) { add_body(to, from, n); }

SSLFAST_ISA_CLONES void row_scale(float* s, int64_t n, float factor) { scale_body(s, n, factor); }
void row_scale(double* s, int64_t n, double factor) { scale_body(s, n, factor); }

SSLFAST_ISA_CLONES void row_exclude_id(float* s, int64_t n, const int64_t* ids, int64_t id, float mark) {
  exclude_id_body(s, n, ids, id, mark);
}
void row_exclude_id(double* s, int64_t n, const int64_t* ids, int64_t id, double mark) {
  exclude_id_body(s, n, ids, id, mark);
}

SSLFAST_ISA_CLONES void row_exclude_above(float* s, int64_t n, float limit) { exclude_above_body(s, n, limit); }
void row_exclude_above(double* s, int64_t n, double limit) { exclude_above_body(s, n, limit); }

}  // namespace sslfast::cpu
