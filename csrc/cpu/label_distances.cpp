#include "sslfast/label_distances.h"

#include <algorithm>
#include <limits>

#include "isa.h"
#include "label_lists.h"
#include "point_pairs.h"
#include "square.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kStrip = 64;  // numbers of all rows that one thread goes through

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T>
SSLFAST_INLINE void add_body(const T* x, int64_t n, T* to) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) to[d] += x[d];
}

template <typename T>
SSLFAST_INLINE void less_body(const T* x, const T* y, int64_t n, T* to) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) to[d] = x[d] - y[d];
}

// Equal rows are apart by the rounding of the product: what is within it is 0; a NaN stays. Returns 0, or NaN where a
// distance is not finite, which comparisons pass over.
template <typename T>
SSLFAST_INLINE T distance_body(T* s, const T* squares, int64_t n, T own, bool root) {
  constexpr T kLeast = 8 * std::numeric_limits<T>::epsilon();
  T zeros = 0;
#pragma omp simd reduction(+ : zeros)
  for (int64_t j = 0; j < n; ++j) {
    const T both = own + squares[j], between = both + s[j], zero = between * T(0);
    zeros += zero;
    s[j] = both * kLeast < between ? between : zero;
  }
  if (!root) return zeros;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) s[j] = std::sqrt(s[j]);
  return zeros;
}

// The sum of max(0, sign * (d - margin)), or of its squares, and how many are above 0.
template <typename T>
SSLFAST_INLINE T excess_body(const T* between, int64_t n, T margin, T sign, bool squared, T* above) {
  const auto excess = [&](int64_t j) {
    const T e = sign * (between[j] - margin);
    return e > 0 ? e : T(0);
  };
  *above = sum_of<T>(n, [&](int64_t j) { return excess(j) > 0 ? T(1) : T(0); });
  return sum_of<T>(n, [&](int64_t j) { return squared ? excess(j) * excess(j) : excess(j); });
}

// between <- the derivatives of these sums, times factor, for a difference of points.
template <typename T>
SSLFAST_INLINE void slopes_body(T* between, int64_t n, T margin, T sign, bool squared, T factor, Distance distance) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T e = sign * (between[j] - margin);
    const T slope = e > 0 ? sign * factor * (squared ? 2 * e : T(1)) : T(0);
    between[j] = per_difference(slope, between[j], distance);
  }
}

template <typename T>
SSLFAST_INLINE T total_body(const T* x, int64_t n, T factor) {
  return sum_of<T>(n, [&](int64_t d) { return factor * x[d]; });
}

// grad of x from minus the product of its weights with all points, whose sum is `weights`.
template <typename T>
SSLFAST_INLINE void whole_body(T* grad, const T* x, int64_t n, T weights, T share) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) grad[d] = share * (grad[d] + weights * x[d]);
}

template <typename T>
SSLFAST_INLINE void pull_body(const T* x, const T* y, int64_t n, T weight, bool cosine, T* of_x, T* of_y) {
  if (cosine) {
    for (int64_t d = 0; d < n; ++d) {
      of_x[d] -= weight * y[d];
      of_y[d] -= weight * x[d];
    }
    return;
  }
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) {
    const T along = weight * (x[d] - y[d]);
    of_x[d] += along;
    of_y[d] -= along;
  }
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROWS(T, CLONES)                                                                                     \
  CLONES void add(const T* x, int64_t n, T* to) { add_body(x, n, to); }                                             \
  CLONES void less(const T* x, const T* y, int64_t n, T* to) { less_body(x, y, n, to); }                            \
  CLONES T apart(const T* x, const T* y, int64_t n, Distance distance) { return apart_body(x, y, n, distance); }    \
  CLONES T total(const T* x, int64_t n, T factor) { return total_body(x, n, factor); }                              \
  CLONES T to_distances(T* s, const T* squares, int64_t n, T own, bool root) {                                      \
    return distance_body(s, squares, n, own, root);                                                                 \
  }                                                                                                                 \
  CLONES T excess(const T* between, int64_t n, T margin, T sign, bool squared, T* above) {                          \
    return excess_body(between, n, margin, sign, squared, above);                                                   \
  }                                                                                                                 \
  CLONES void to_slopes(T* between, int64_t n, T margin, T sign, bool squared, T factor, Distance distance) {       \
    if (distance == Distance::kEuclidean) {                                                                         \
      slopes_body(between, n, margin, sign, squared, factor, Distance::kEuclidean);                                 \
    } else {                                                                                                        \
      slopes_body(between, n, margin, sign, squared, factor, distance);                                             \
    }                                                                                                               \
  }                                                                                                                 \
  CLONES void whole(T* grad, const T* x, int64_t n, T weights, T share) { whole_body(grad, x, n, weights, share); } \
  CLONES void pull(const T* x, const T* y, int64_t n, T weight, bool cosine, T* of_x, T* of_y) {                    \
    pull_body(x, y, n, weight, cosine, of_x, of_y);                                                                 \
  }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

// The terms of the positive pairs, or of the negative ones; every pair counts in both directions.
struct Sum {
  double total = 0, above = 0, pairs = 0;

  // What the sum is multiplied by.
  double share(Reduction reduction) const {
    return reduction == Reduction::kSum ? 1 : 1 / std::max(reduction == Reduction::kMean ? pairs : above, 1.0);
  }
};

template <typename T>
LabelGradient<T> pairs(const LabelDistances<T>& p, int threads) {
  const int64_t n = p.rows, width = p.width;
  const LabelLists lists(p.labels, n);
  const bool cosine = p.distance == Distance::kCosine;
  // Margins of cosine are similarities.
  const T near = cosine ? -p.margin : p.margin, far = cosine ? -p.neg_margin : p.neg_margin;
  const bool listed = lists.pairs() * kFewPairs <= n * n;
  std::vector<Sum> of_rows(2 * n);
  LabelGradient<T> found{true};
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> own(n);
#pragma omp for
    for (int64_t i = 0; i < n; ++i) {
      T* between = p.square + i * n;
      int64_t k = 0;
      for (const int32_t j : lists.of(i)) {
        if (listed && j != i) between[j] = apart(p.points + i * width, p.points + j * width, width, p.distance);
        own[k++] = between[j];
        between[j] = std::numeric_limits<T>::infinity();
      }
      T above;
      of_rows[2 * i + 1].total = excess(between, n, far, T(-1), p.squared, &above);
      of_rows[2 * i + 1].above = above;
      k = 0;
      for (const int32_t j : lists.of(i)) between[j] = own[k++];
      k = 0;
      for (const int32_t j : lists.of(i)) {
        if (j != i) own[k++] = between[j];
      }
      of_rows[2 * i].total = excess(own.data(), k, near, T(1), p.squared, &above);
      of_rows[2 * i].above = above;
    }
  }
  Sum sums[2];
  sums[0].pairs = lists.pairs();
  sums[1].pairs = n * (n - 1) - lists.pairs();
  for (int64_t i = 0; i < 2 * n; ++i) {
    sums[i % 2].total += of_rows[i].total;
    sums[i % 2].above += of_rows[i].above;
  }
  const double shares[2] = {sums[0].share(p.reduction), sums[1].share(p.reduction)};
  *p.loss = static_cast<T>(sums[0].total * shares[0] + sums[1].total * shares[1]) + total(p.points, n * width, T(0));
  if (!p.need_grad) return found;
  // Weights of both directions of a pair are one.
  const T of_near = static_cast<T>(2 * shares[0]), of_far = static_cast<T>(2 * shares[1]);
  for (int64_t i = 0; listed && i < n; ++i) {
    for (const int32_t j : lists.of(i)) {
      if (j <= i) continue;
      T weight = p.square[i * n + j];
      to_slopes(&weight, 1, near, T(1), p.squared, of_near, p.distance);
      if (weight != 0) found.pulls.push_back({static_cast<int32_t>(i), j, weight});
    }
  }
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> own(n);
#pragma omp for
    for (int64_t i = 0; i < n; ++i) {
      T* between = p.square + i * n;
      int64_t k = 0;
      for (const int32_t j : lists.of(i)) own[k++] = between[j];
      to_slopes(between, n, far, T(-1), p.squared, of_far, p.distance);
      if (!listed) to_slopes(own.data(), k, near, T(1), p.squared, of_near, p.distance);
      k = 0;
      for (const int32_t j : lists.of(i)) {
        between[j] = listed || j == i ? T(0) : own[k];
        ++k;
      }
    }
  }
  return found;
}

}  // namespace

template <typename T>
void centre_points(const LabelDistances<T>& p, int threads) {
  const int64_t n = p.rows, width = p.width;
  threads = team(n * width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t d = 0; d < width; d += kStrip) {
    const int64_t size = std::min(kStrip, width - d);
    T mean[kStrip] = {};
    for (int64_t i = 0; i < n; ++i) add(p.points + i * width + d, size, mean);
    for (int64_t k = 0; k < size; ++k) mean[k] /= static_cast<T>(n);
    for (int64_t i = 0; i < n; ++i) less(p.points + i * width + d, mean, size, p.centred + i * width + d);
  }
}

template <typename T>
LabelGradient<T> label_distances(const LabelDistances<T>& p, int threads) {
  const int64_t n = p.rows;
  threads = team(n * n, kNumbersPerThread, threads);
  T poison = 0;  // NaN where a distance is not finite: what compares with it is no triplet and no term
  if (p.distance != Distance::kCosine) {
    std::vector<T> squares(n);
    for (int64_t i = 0; i < n; ++i) squares[i] = p.square[i * n + i] / -2;
    const bool root = p.distance == Distance::kEuclidean && p.terms != LabelTerms::kHardest;
#pragma omp parallel for num_threads(threads) reduction(+ : poison) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) poison += to_distances(p.square + i * n, squares.data(), n, squares[i], root);
  } else {
#pragma omp parallel for num_threads(threads) reduction(+ : poison) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) {
      const T* row = p.square + i * n;
      poison += total(row, i, T(0)) + total(row + i + 1, n - i - 1, T(0));  // a row is in no pair with itself
    }
  }
  LabelGradient<T> found = p.terms == LabelTerms::kPairs ? pairs(p, threads) : label_triplets(p, threads);
  *p.loss += poison;
  return found;
}

template <typename T>
void label_pulls(const LabelDistances<T>& p, const LabelGradient<T>& found, T* grad, int threads) {
  const int64_t n = p.rows, width = p.width;
  const bool cosine = p.distance == Distance::kCosine;
  if (found.dense) {
    const int rows = team(n * (n + width), kNumbersPerThread, threads);
#pragma omp parallel for num_threads(rows) if (rows > 1)
    for (int64_t i = 0; i < n; ++i) {
      const T weights = cosine ? T(0) : total(p.square + i * n, n, T(1));
      whole(grad + i * width, (cosine ? p.points : p.centred) + i * width, width, weights, found.share);
    }
  }
  // A row may be in many pairs: a thread has some of the numbers of all rows.
  const auto work = static_cast<int64_t>(found.pulls.size()) * width;
  const int strips = team(work, kNumbersPerThread, threads);
  const int64_t step = strips > 1 ? kStrip : width;
#pragma omp parallel for num_threads(strips) if (strips > 1)
  for (int64_t d = 0; d < width; d += step) {
    for (const Pull<T>& of : found.pulls) {
      const int64_t i = of.i * width + d, j = of.j * width + d;
      pull(p.points + i, p.points + j, std::min(step, width - d), found.share * of.weight, cosine, grad + i, grad + j);
    }
  }
}

#define SSLFAST_TYPE(T)                                                     \
  template void centre_points(const LabelDistances<T>&, int);               \
  template LabelGradient<T> label_distances(const LabelDistances<T>&, int); \
  template void label_pulls(const LabelDistances<T>&, const LabelGradient<T>&, T*, int);
SSLFAST_TYPE(float)
SSLFAST_TYPE(double)
#undef SSLFAST_TYPE

}  // namespace sslfast::cpu
