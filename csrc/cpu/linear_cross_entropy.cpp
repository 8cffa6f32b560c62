// The epilogues of a tile of logits of a linear layer's classes: the first, while the tile is in cache, makes s of the
// logits and adds up the softmax; the second makes the gradient. The exponential is taken in both: beside the three
// products of a logit it costs little, and s is needed again where it is capped.
#include "sslfast/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isa.h"
#include "logit_rows.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

// tanh in single precision within 4 ulp, for loops that vectorise: an odd polynomial, Cephes', below 0.625.
inline __attribute__((always_inline)) float vector_tanh(float x) {
  const float size = std::fabs(x), square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float small = p * square * x + x;
  const float e = vector_exp(-2.0f * size);
  const float large = std::copysign((1.0f - e) / (1.0f + e), x);
  return size < 0.625f ? small : large;
}
inline double vector_tanh(double x) { return std::tanh(x); }

template <typename T>
inline __attribute__((always_inline)) void cap_body(T* s, int64_t n, T cap) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] = cap * vector_tanh(s[j] / cap);
}

template <typename T>
inline __attribute__((always_inline)) T sum_body(const T* s, int64_t n, T shift) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) total += vector_exp(s[j] - shift);
  return total;
}

template <typename T>
inline __attribute__((always_inline)) T weighted_sum_body(const T* s, int64_t n, const T* weights) {
  T total = 0;
  if (weights == nullptr) {
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < n; ++j) total += s[j];
    return total;
  }
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) total += weights[j] * s[j];
  return total;
}

// The derivative of cap * tanh(logit / cap), from its value.
template <typename T>
inline __attribute__((always_inline)) T slope(T s, T cap) {
  const T t = s / cap;
  return (1 - t) * (1 + t);
}

// A loop for each case: with the cases within it none would vectorise.
template <typename T>
inline __attribute__((always_inline)) void gradient_body(T* s, int64_t n, T scale, T offset, T flat, const T* weights,
                                                         T cap) {
  if (flat == 0 && cap == 0) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] = scale * vector_exp(s[j] - offset);
  } else if (weights == nullptr && cap == 0) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] = scale * vector_exp(s[j] - offset) - flat;
  } else if (weights == nullptr || flat == 0) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] = (scale * vector_exp(s[j] - offset) - flat) * slope(s[j], cap);
  } else if (cap == 0) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] = scale * vector_exp(s[j] - offset) - flat * weights[j];
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) s[j] = (scale * vector_exp(s[j] - offset) - flat * weights[j]) * slope(s[j], cap);
  }
}

SSLFAST_ISA_CLONES void cap_row(float* s, int64_t n, float cap) { cap_body(s, n, cap); }
void cap_row(double* s, int64_t n, double cap) { cap_body(s, n, cap); }
SSLFAST_ISA_CLONES float row_sum(const float* s, int64_t n, float shift) { return sum_body(s, n, shift); }
double row_sum(const double* s, int64_t n, double shift) { return sum_body(s, n, shift); }
SSLFAST_ISA_CLONES float weighted_sum(const float* s, int64_t n, const float* weights) {
  return weighted_sum_body(s, n, weights);
}
double weighted_sum(const double* s, int64_t n, const double* weights) { return weighted_sum_body(s, n, weights); }
SSLFAST_ISA_CLONES void gradient_row(float* s, int64_t n, float scale, float offset, float flat, const float* weights,
                                     float cap) {
  gradient_body(s, n, scale, offset, flat, weights, cap);
}
void gradient_row(double* s, int64_t n, double scale, double offset, double flat, const double* weights, double cap) {
  gradient_body(s, n, scale, offset, flat, weights, cap);
}

template <typename T>
const T* from(const T* numbers, int64_t col0) {
  return numbers != nullptr ? numbers + col0 : nullptr;
}

template <typename T>
void logits(T* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<T>& state, const ClassTerms<T>& terms,
            int threads) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 1)
  for (int64_t i = 0; i < rows; ++i) {
    T* s = tile + i * cols;
    if (terms.bias != nullptr) row_add(s, terms.bias + col0, cols);
    if (terms.softcap != 0) cap_row(s, cols, terms.softcap);
    if (terms.smoothing != 0) state.sums[i] += weighted_sum(s, cols, from(terms.class_weights, col0));
    const int64_t own = state.targets[i] - col0;
    if (own >= 0 && own < cols) {
      state.positive[i] = s[own];
      s[own] = kNone;
    }
    const T shift = std::max(state.shift[i], row_max(s, cols));
    if (shift == kNone) {  // no other class so far; a NaN is no maximum, but shows in the sum
      state.sum[i] += row_sum(s, cols, T(0));
      continue;
    }
    state.sum[i] = state.sum[i] * std::exp(state.shift[i] - shift) + row_sum(s, cols, shift);
    state.shift[i] = shift;
  }
}

// log(exp(a) + exp(b)), of infinities, too.
template <typename T>
T log_add(T a, T b) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  if (a == kNone) return b;
  return b == kNone ? a : std::max(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
}

template <typename T>
void finish(int64_t rows, const ClassRows<T>& r, const ClassTerms<T>& terms) {
  for (int64_t i = 0; i < rows; ++i) {
    T rest = r.shift[i] + std::log(r.sum[i]);
    if (r.elsewhere != nullptr) rest = log_add(rest, r.elsewhere[i]);
    const T own = r.positive[i];
    // Every branch keeps the relative precision of a small loss and of its derivative.
    const T z = rest - own, e = std::exp(-std::fabs(z));
    const T share = (z > 0 ? T(1) : e) / (1 + e), other_share = (z > 0 ? e : T(1)) / (1 + e);
    r.nll[i] = (z > 0 ? z : T(0)) + std::log1p(e);
    // Neither the target nor another class here can be where classes are shared out, with others elsewhere.
    r.lse[i] = own == -std::numeric_limits<T>::infinity() ? rest : (z > 0 ? rest : own) + std::log1p(e);
    const T weight = terms.keep * (r.weights != nullptr ? r.weights[i] : T(1)),
            other = r.others != nullptr ? r.others[i] : T(1);
    const T common = terms.smoothing * terms.class_weight_sum + 2 * terms.z_loss * r.lse[i];
    const T own_weight = terms.class_weights != nullptr ? terms.class_weights[r.targets[i]] : T(1);
    r.scale[i] = share * (weight + other * common);
    // Where there is no other class that could be, its exponentials are 0 below any offset.
    r.offset[i] = rest == -std::numeric_limits<T>::infinity() ? T(0) : rest;
    r.flat[i] = other * terms.smoothing;
    r.pair[i] = other * (common * other_share - terms.smoothing * own_weight) - weight * share;
    if (terms.softcap != 0) r.pair[i] *= slope(own, terms.softcap);
  }
}

template <typename T>
void gradients(T* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<T>& r, const ClassTerms<T>& terms,
               T* d_bias, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 1)
  for (int64_t i = 0; i < rows; ++i) {
    T* s = tile + i * cols;
    gradient_row(s, cols, r.scale[i], r.offset[i], r.flat[i], from(terms.class_weights, col0), terms.softcap);
    const int64_t own = r.targets[i] - col0;
    if (own >= 0 && own < cols) s[own] = 0;
  }
  if (d_bias == nullptr) return;
  constexpr int64_t kBlock = 128;  // columns that one thread adds up, row by row
#pragma omp parallel for num_threads(threads) if (threads > 1 && cols > kBlock)
  for (int64_t j = 0; j < cols; j += kBlock) {
    for (int64_t i = 0; i < rows; ++i) row_add(d_bias + col0 + j, tile + i * cols + j, std::min(kBlock, cols - j));
  }
}

}  // namespace

void class_logits(float* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<float>& state,
                  const ClassTerms<float>& terms, int threads) {
  logits(tile, rows, cols, col0, state, terms, threads);
}
void class_logits(double* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<double>& state,
                  const ClassTerms<double>& terms, int threads) {
  logits(tile, rows, cols, col0, state, terms, threads);
}
void class_rows(int64_t rows, const ClassRows<float>& state, const ClassTerms<float>& terms) {
  finish(rows, state, terms);
}
void class_rows(int64_t rows, const ClassRows<double>& state, const ClassTerms<double>& terms) {
  finish(rows, state, terms);
}
void class_gradients(float* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<float>& state,
                     const ClassTerms<float>& terms, float* d_bias, int threads) {
  gradients(tile, rows, cols, col0, state, terms, d_bias, threads);
}
void class_gradients(double* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<double>& state,
                     const ClassTerms<double>& terms, double* d_bias, int threads) {
  gradients(tile, rows, cols, col0, state, terms, d_bias, threads);
}

}  // namespace sslfast::cpu
