#include "sslfast/label_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isa.h"
#include "label_lists.h"
#include "lane_sums.h"
#include "square.h"
#include "team.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T>
constexpr T kNone = -std::numeric_limits<T>::infinity();

// In double: a small loss hangs on the logits of positives.
template <typename T>
SSLFAST_INLINE double dot_body(const T* x, const T* y, int64_t n) {
  return sum_of<double>(n, [&](int64_t d) { return static_cast<double>(x[d]) * static_cast<double>(y[d]); });
}

template <typename T>
SSLFAST_INLINE T largest_body(const T* s, int64_t n) {
  T best = kNone<T>;
#pragma omp simd reduction(max : best)
  for (int64_t j = 0; j < n; ++j) best = s[j] > best ? s[j] : best;
  return best;
}

// s <- exp(s - shift), and its sum.
template <typename T>
SSLFAST_INLINE T exp_body(T* s, int64_t n, T shift) {
  return sum_of<T>(n, [&](int64_t j) { return s[j] = vector_exp_of_negative(s[j] - shift); });
}

template <typename T>
SSLFAST_INLINE void times_body(T* s, int64_t n, T factor) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] *= factor;
}

// The sum of softplus(x) with x = lse - positive, and sigmoid(x), also its sum: exact where the loss is small.
template <typename T>
SSLFAST_INLINE T softplus_body(const T* positives, int64_t n, T lse, T* slopes, T* slope) {
  const T loss = sum_of<T>(n, [&](int64_t k) {
    const T x = lse - positives[k], e = vector_exp_of_negative(x < 0 ? x : -x);
    slopes[k] = (x < 0 ? e : T(1)) / (1 + e);
    return (x < 0 ? T(0) : x) + vector_log1p(e);
  });
  *slope = sum_of<T>(n, [&](int64_t k) { return slopes[k]; });
  return loss;
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROWS(T, CLONES)                                                      \
  CLONES double dot(const T* x, const T* y, int64_t n) { return dot_body(x, y, n); } \
  CLONES T zeros(const T* x, int64_t n) { return zeros_body(x, n); }                 \
  CLONES T largest(const T* s, int64_t n) { return largest_body(s, n); }             \
  CLONES T to_exp(T* s, int64_t n, T shift) { return exp_body(s, n, shift); }        \
  CLONES void times(T* s, int64_t n, T factor) { times_body(s, n, factor); }         \
  CLONES T softplus(const T* positives, int64_t n, T lse, T* slopes, T* slope) {     \
    return softplus_body(positives, n, lse, slopes, slope);                          \
  }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

// The term of row i, whose logits become its weights. Positives leave the sum where each of them is by itself.
template <typename T>
double anchor(const LabelSoftmax<T>& p, const LabelLists& lists, int64_t i, T share, bool fine, T* positives,
              T* slopes) {
  const int64_t m = p.columns(), count = lists.positives(i), own = p.own(i);
  T* s = p.logits + i * m;
  if (count == 0) {
    if (p.need_grad) std::fill_n(s, m, T(0));
    return 0;
  }
  const bool alone = p.each_positive || count == 1, finer = fine || count == 1;
  lists.each(i, [&](int64_t k, int32_t j) {
    positives[k] = finer ? static_cast<T>(p.scale * dot(p.row(i), p.column(j), p.width)) : s[j];
    if (alone) s[j] = kNone<T>;
  });
  if (own >= 0) s[own] = kNone<T>;
  const T peak = largest(s, m), shift = peak == kNone<T> ? T(0) : peak;
  const T sum = to_exp(s, m, shift), lse = shift + std::log(sum);
  if (!alone) {
    double mean = 0;
    for (int64_t k = 0; k < count; ++k) mean += static_cast<double>(positives[k]);
    if (p.need_grad) {
      times(s, m, share / sum);
      lists.each(i, [&](int64_t, int32_t j) { s[j] -= share / static_cast<T>(count); });
    }
    return static_cast<double>(lse) - mean / static_cast<double>(count);
  }
  T slope;
  const T term = softplus(positives, count, lse, slopes, &slope);
  if (p.need_grad) {
    times(s, m, sum == 0 ? T(0) : share * slope / sum);
    lists.each(i, [&](int64_t k, int32_t j) { s[j] = -share * slopes[k]; });
  }
  return static_cast<double>(term);
}

}  // namespace

template <typename T>
void label_softmax(const LabelSoftmax<T>& p, int threads) {
  const LabelLists lists(p);
  const int64_t m = p.columns();
  const int64_t terms = std::max<int64_t>(p.each_positive ? lists.pairs() : lists.anchors(), 1);
  const T share = T(1) / static_cast<T>(terms);
  const bool fine = lists.pairs() * kFewPairs <= p.rows * m;
  std::vector<double> losses(p.rows);
  threads = team(p.rows * m, kNumbersPerThread, threads);
  share_out_with<T>(2 * m, p.rows, threads,
                    [&](int64_t i, T* scratch) { losses[i] = anchor(p, lists, i, share, fine, scratch, scratch + m); });
  double total = 0;
  for (const double loss : losses) total += loss;
  // A NaN reaches the loss from a row that is in no pair, too.
  *p.loss = static_cast<T>(total / static_cast<double>(terms)) + zeros(p.points, p.all() * p.width);
  if (p.need_grad && p.among()) add_transposed(p.logits, p.rows, threads);
}

template void label_softmax(const LabelSoftmax<float>&, int);
template void label_softmax(const LabelSoftmax<double>&, int);

}  // namespace sslfast::cpu
