// What a small batch needs beside the tiles' epilogues: rows of any type and strides as the products take them, the
// losses of the pairs in lanes, where a logarithm each would cost as much as a product, and label smoothing, whose
// weights are alike in all columns, so that sums over both sides stand for a product, or in those that count.
#include "sslfast/few_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

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

template <bool kFactors, bool kEach, typename T>
inline __attribute__((always_inline)) double losses_body(const PairLosses<T>& p) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < p.n; ++i) {
    // Both branches keep the relative precision of a small loss and of its derivative.
    const T z = p.lse[i] - p.positive[i], e = vector_exp(-std::fabs(z)), factor = kFactors ? p.factors[i] : T(1);
    const T share = p.share * factor * (z > 0 ? T(1) : e) / (1 + e);
    const double loss = static_cast<double>((z > 0 ? z : T(0)) + vector_log1p(e) + T(0) * p.positive[i]);
    const double own = kFactors ? static_cast<double>(factor) * loss : loss;
    sum += own;
    if (kEach) p.losses[i] += p.share * static_cast<T>(own);
    p.shares[i] = share;
    p.weights[i] -= share;
  }
  return sum;
}

template <typename T>
inline __attribute__((always_inline)) double losses_of(const PairLosses<T>& p) {
  if (p.losses != nullptr) return p.factors != nullptr ? losses_body<true, true>(p) : losses_body<false, true>(p);
  return p.factors != nullptr ? losses_body<true, false>(p) : losses_body<false, false>(p);
}

// In logarithms, so that nothing overflows.
template <typename T>
void debias(const DebiasedPairs<T>& p) {
  const double count = static_cast<double>(p.count), least = std::log(count) - std::fabs(p.scale);
  const double own = std::log(p.tau_plus * count), rest = std::log1p(-p.tau_plus);
  for (int64_t i = 0; i < p.n; ++i) {
    const double lse = p.lse[i], part = p.positive[i] - lse + own;  // log of the share of the sum that is taken out
    const double left = -std::expm1(part), value = lse + std::log(left) - rest;
    // The least where more is taken out than there is; NaN goes on into the loss.
    const bool above = part >= 0 ? false : !(value <= least);
    p.debiased[i] = static_cast<T>(above ? value : least);
    p.slopes[i] = above ? 1 / left : 0.0;
  }
}

// to += factor * from
template <typename Sum, typename T>
inline __attribute__((always_inline)) void add_row_body(const T* from, int64_t n, Sum factor, Sum* to) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) to[k] += factor * static_cast<Sum>(from[k]);
}

SSLFAST_ISA_CLONES void add_times(const float* from, int64_t n, double factor, double* to) {
  add_row_body(from, n, factor, to);
}
SSLFAST_ISA_CLONES void add_times(const float* from, int64_t n, float factor, float* to) {
  add_row_body(from, n, factor, to);
}
void add_times(const double* from, int64_t n, double factor, double* to) { add_row_body(from, n, factor, to); }

// grads += weight * factors_i * sums, in all rows; factors may be null.
template <typename T>
void add_to_all(const std::vector<double>& sums, const T* factors, int64_t rows, double weight, T* grads) {
  std::vector<T> step(sums.size());
  for (size_t k = 0; k < sums.size(); ++k) step[k] = static_cast<T>(weight * sums[k]);
  const int64_t d = static_cast<int64_t>(sums.size());
  for (int64_t i = 0; i < rows; ++i) add_times(step.data(), d, factors != nullptr ? factors[i] : T(1), grads + i * d);
}

template <typename T>
double all_pairs(const AllPairs<T>& p, double row_weight, double col_weight, T* row_grads, T* col_grads) {
  std::vector<double> rows(p.d), columns(p.d);
  for (int64_t i = 0; i < p.n; ++i) {
    add_times(p.rows + i * p.d, p.d, p.factors != nullptr ? static_cast<double>(p.factors[i]) : 1.0, rows.data());
  }
  for (int64_t j = 0; j < p.m; ++j) add_times(p.columns + j * p.d, p.d, 1.0, columns.data());
  if (row_grads != nullptr) add_to_all(columns, p.factors, p.n, row_weight, row_grads);
  if (col_grads != nullptr) add_to_all<T>(rows, nullptr, p.m, col_weight, col_grads);
  return std::inner_product(rows.begin(), rows.end(), columns.begin(), 0.0);
}

template <typename T>
void transpose_all(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t n, bool add, int threads) {
  constexpr int64_t kBlock = 16;  // rows and columns, which stay in L1
  share_out((n + kBlock - 1) / kBlock, threads, [&](int64_t block) {
    const int64_t i0 = block * kBlock;
    for (int64_t j0 = 0; j0 < n; j0 += kBlock) {
      for (int64_t i = i0; i < std::min(i0 + kBlock, n); ++i) {
        for (int64_t j = j0; j < std::min(j0 + kBlock, n); ++j) {
          T& there = to[i * to_stride + j];
          there = add ? there + from[j * from_stride + i] : from[j * from_stride + i];
        }
      }
    }
  });
}

// counts <- whether a column has not the id, where ids are not null, nor a logit above the limit, which a NaN is not.
template <typename T>
inline __attribute__((always_inline)) void mark_body(const T* logits, int64_t m, T limit, const int64_t* ids,
                                                     int64_t id, uint8_t* counts) {
#pragma omp simd
  for (int64_t j = 0; j < m; ++j) counts[j] = !(logits[j] > limit);
  if (ids == nullptr) return;
#pragma omp simd
  for (int64_t j = 0; j < m; ++j) counts[j] &= ids[j] != id;
}

SSLFAST_ISA_CLONES void mark(const float* logits, int64_t m, float limit, const int64_t* ids, int64_t id,
                             uint8_t* counts) {
  mark_body(logits, m, limit, ids, id, counts);
}
void mark(const double* logits, int64_t m, double limit, const int64_t* ids, int64_t id, uint8_t* counts) {
  mark_body(logits, m, limit, ids, id, counts);
}

template <typename T>
void count_all(const T* logits, const Excluded<T>& out, const CountedSmoothing<T>& s, int threads) {
  share_out(s.n, threads, [&](int64_t i) {
    uint8_t* counts = s.counts + i * s.m;
    const T limit = out.row_limits != nullptr ? out.row_limits[i] : std::numeric_limits<T>::infinity();
    mark(logits + i * s.m, s.m, limit, out.col_ids, out.row_ids != nullptr ? out.row_ids[i] : 0, counts);
    counts[out.positives[i]] = 0;
    s.others[i] = std::accumulate(counts, counts + s.m, int64_t{0});
  });
}

template <typename T>
inline __attribute__((always_inline)) double counted_sum_body(const T* logits, int64_t m, const uint8_t* counts) {
  return static_cast<double>(sum_of<T>(m, [&](int64_t j) { return counts[j] != 0 ? logits[j] : T(0); }));
}

SSLFAST_ISA_CLONES double counted_sum(const float* logits, int64_t m, const uint8_t* counts) {
  return counted_sum_body(logits, m, counts);
}
double counted_sum(const double* logits, int64_t m, const uint8_t* counts) {
  return counted_sum_body(logits, m, counts);
}

SSLFAST_ISA_CLONES void take_off(float spread, const uint8_t* counts, int64_t m, float* row) {
#pragma omp simd
  for (int64_t j = 0; j < m; ++j) row[j] -= counts[j] != 0 ? spread : 0.0F;
}
void take_off(double spread, const uint8_t* counts, int64_t m, double* row) {
  for (int64_t j = 0; j < m; ++j) row[j] -= counts[j] != 0 ? spread : 0.0;
}

template <typename T>
double smooth_all(const T* logits, const CountedSmoothing<T>& s, int threads) {
  std::vector<double> sums(s.n);  // added up in order, however many threads there are
  share_out(s.n, threads, [&](int64_t i) {
    const T* row = logits + i * s.m;
    const uint8_t* counts = s.counts + i * s.m;
    const int64_t others = s.others[i];
    const double own = s.positive[i],
                 times = s.smoothing * (s.factors != nullptr ? static_cast<double>(s.factors[i]) : 1.0);
    const double each = times / static_cast<double>(others + 1);
    sums[i] = each * (static_cast<double>(others) * own - counted_sum(row, s.m, counts));
    s.spread[i] = static_cast<T>(each * s.share);
    s.weights[i] += static_cast<T>(each * static_cast<double>(others) * s.share);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <typename T>
void spread_all(const CountedSmoothing<T>& s, T* derivatives, int threads) {
  share_out(s.n, threads, [&](int64_t i) { take_off(s.spread[i], s.counts + i * s.m, s.m, derivatives + i * s.m); });
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

SSLFAST_ISA_CLONES double pair_losses(const PairLosses<float>& losses) { return losses_of(losses); }
double pair_losses(const PairLosses<double>& losses) { return losses_of(losses); }

void debias_pairs(const DebiasedPairs<float>& pairs) { debias(pairs); }
void debias_pairs(const DebiasedPairs<double>& pairs) { debias(pairs); }

double add_all_pairs(const AllPairs<float>& pairs, double row_weight, double col_weight, float* row_grads,
                     float* col_grads) {
  return all_pairs(pairs, row_weight, col_weight, row_grads, col_grads);
}
double add_all_pairs(const AllPairs<double>& pairs, double row_weight, double col_weight, double* row_grads,
                     double* col_grads) {
  return all_pairs(pairs, row_weight, col_weight, row_grads, col_grads);
}

void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t n, bool add, int threads) {
  transpose_all(from, from_stride, to, to_stride, n, add, threads);
}
void transpose(const double* from, int64_t from_stride, double* to, int64_t to_stride, int64_t n, bool add,
               int threads) {
  transpose_all(from, from_stride, to, to_stride, n, add, threads);
}

void count_candidates(const float* logits, const Excluded<float>& excluded, const CountedSmoothing<float>& smoothing,
                      int threads) {
  count_all(logits, excluded, smoothing, threads);
}
void count_candidates(const double* logits, const Excluded<double>& excluded, const CountedSmoothing<double>& smoothing,
                      int threads) {
  count_all(logits, excluded, smoothing, threads);
}

double smooth_counted(const float* logits, const CountedSmoothing<float>& smoothing, int threads) {
  return smooth_all(logits, smoothing, threads);
}
double smooth_counted(const double* logits, const CountedSmoothing<double>& smoothing, int threads) {
  return smooth_all(logits, smoothing, threads);
}

void spread_counted(const CountedSmoothing<float>& smoothing, float* derivatives, int threads) {
  spread_all(smoothing, derivatives, threads);
}
void spread_counted(const CountedSmoothing<double>& smoothing, double* derivatives, int threads) {
  spread_all(smoothing, derivatives, threads);
}

double sum_and_scale(float* grads, const float* units, int64_t rows, int64_t width, float factor) {
  return all_sums_and_scale(grads, units, rows, width, factor);
}
double sum_and_scale(double* grads, const double* units, int64_t rows, int64_t width, double factor) {
  return all_sums_and_scale(grads, units, rows, width, factor);
}

}  // namespace sslfast::cpu
