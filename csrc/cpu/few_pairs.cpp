// What a small batch needs beside the tiles' epilogues: rows of any type and strides as the products take them, and the
// losses of the pairs in lanes, where a logarithm each would cost as much as a product.
#include "sslfast/few_pairs.h"

#include <cmath>
#include <type_traits>

#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"
#include "row_arithmetic.h"
#include "team.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

template <typename In, typename T>
void wide_row(const In* z, int64_t stride, int64_t n, T* wide) {
  if constexpr (std::is_same_v<In, T> || std::is_same_v<T, float>) {
    if (stride == 1) return convert_row(z, n, wide);
  }
  for (int64_t k = 0; k < n; ++k) wide[k] = static_cast<T>(widen(z[k * stride]));
}

template <typename T>
void widen_all(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride, T* wide,
               int threads) {
  by_dtype(dtype, [&](auto element) {
    const auto* from = static_cast<const decltype(element)*>(z);
    share_out(rows, team(rows * width, kNumbersPerThread, threads),
              [&](int64_t i) { wide_row(from + i * row_stride, col_stride, width, wide + i * width); });
  });
}

template <typename T>
inline __attribute__((always_inline)) double losses_body(const PairLosses<T>& p) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < p.n; ++i) {
    // Both branches keep the relative precision of a small loss and of its derivative.
    const T z = p.lse[i] - p.positive[i], e = vector_exp(-std::fabs(z));
    const T share = p.share * (z > 0 ? T(1) : e) / (1 + e);
    sum += static_cast<double>((z > 0 ? z : T(0)) + vector_log1p(e) + T(0) * p.positive[i]);
    p.shares[i] = share;
    p.weights[i] -= share;
  }
  return sum;
}

template <typename T>
inline __attribute__((always_inline)) double sum_and_scale_body(T* grads, const T* units, int64_t n, T factor) {
  const T sum = sum_of<T>(n, [&](int64_t k) { return grads[k] * units[k]; });
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) grads[k] *= factor;
  return static_cast<double>(sum);
}

SSLFAST_ISA_CLONES double row_sum_and_scale(float* grads, const float* units, int64_t n, float factor) {
  return sum_and_scale_body(grads, units, n, factor);
}
double row_sum_and_scale(double* grads, const double* units, int64_t n, double factor) {
  return sum_and_scale_body(grads, units, n, factor);
}

template <typename T>
double all_sums_and_scale(T* grads, const T* units, int64_t rows, int64_t width, T factor) {
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i) sum += row_sum_and_scale(grads + i * width, units + i * width, width, factor);
  return sum;
}

}  // namespace

void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               float* wide, int threads) {
  widen_all(z, dtype, rows, width, row_stride, col_stride, wide, threads);
}
void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               double* wide, int threads) {
  widen_all(z, dtype, rows, width, row_stride, col_stride, wide, threads);
}

SSLFAST_ISA_CLONES double pair_losses(const PairLosses<float>& losses) { return losses_body(losses); }
double pair_losses(const PairLosses<double>& losses) { return losses_body(losses); }

double sum_and_scale(float* grads, const float* units, int64_t rows, int64_t width, float factor) {
  return all_sums_and_scale(grads, units, rows, width, factor);
}
double sum_and_scale(double* grads, const double* units, int64_t rows, int64_t width, double factor) {
  return all_sums_and_scale(grads, units, rows, width, factor);
}

}  // namespace sslfast::cpu
