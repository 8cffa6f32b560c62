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
SSLFAST_INLINE T total_body(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t d) { return x[d]; });
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
  CLONES T total(const T* x, int64_t n) { return total_body(x, n); }                                                \
  CLONES T zeros(const T* x, int64_t n) { return zeros_body(x, n); }                                                \
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
  const int64_t n = p.rows, m = p.columns();
  const LabelLists lists(p);
  const bool cosine = p.distance == Distance::kCosine;
  // Margins of cosine are similarities.
  const T near = cosine ? -p.margin : p.margin, far = cosine ? -p.neg_margin : p.neg_margin;
  const bool listed = lists.pairs() * kFewPairs <= n * m;
  std::vector<Sum> of_rows(2 * n);
  LabelGradient<T> found{true};
  share_out_with<T>(m, n, threads, [&](int64_t i, T* positives) {
    T *between = p.square + i * m, above;
    lists.each(i, [&](int64_t k, int32_t j) {
      positives[k] = listed ? apart(p.row(i), p.column(j), p.width, p.distance) : between[j];
      between[j] = std::numeric_limits<T>::infinity();
    });
    if (p.own(i) >= 0) between[p.own(i)] = std::numeric_limits<T>::infinity();  // no term, and a slope of 0
    of_rows[2 * i + 1].total = excess(between, m, far, T(-1), p.squared, &above);
    of_rows[2 * i + 1].above = above;
    lists.each(i, [&](int64_t k, int32_t j) { between[j] = positives[k]; });
    of_rows[2 * i].total = excess(positives, lists.positives(i), near, T(1), p.squared, &above);
    of_rows[2 * i].above = above;
  });
  Sum sums[2];
  sums[0].pairs = static_cast<double>(lists.pairs());
  sums[1].pairs = static_cast<double>(lists.far_pairs());
  for (int64_t i = 0; i < 2 * n; ++i) {
    sums[i % 2].total += of_rows[i].total;
    sums[i % 2].above += of_rows[i].above;
  }
  const double shares[2] = {sums[0].share(p.reduction), sums[1].share(p.reduction)};
  *p.loss = static_cast<T>(sums[0].total * shares[0] + sums[1].total * shares[1]);
  if (!p.need_grad) return found;
  const int directions = p.among() ? 2 : 1;  // weights of both directions of a pair are one
  const T of_near = static_cast<T>(directions * shares[0]), of_far = static_cast<T>(directions * shares[1]);
  for (int64_t i = 0; listed && i < n; ++i) {
    lists.each(i, [&](int64_t, int32_t j) {
      if (p.among() && j < i) return;
      T weight = p.square[i * m + j];
      to_slopes(&weight, 1, near, T(1), p.squared, of_near, p.distance);
      if (weight != 0) found.pulls.push_back({static_cast<int32_t>(i), static_cast<int32_t>(p.place(j)), weight});
    });
  }
  share_out_with<T>(m, n, threads, [&](int64_t i, T* positives) {
    T* between = p.square + i * m;
    lists.each(i, [&](int64_t k, int32_t j) { positives[k] = between[j]; });
    to_slopes(between, m, far, T(-1), p.squared, of_far, p.distance);
    if (!listed) to_slopes(positives, lists.positives(i), near, T(1), p.squared, of_near, p.distance);
    lists.each(i, [&](int64_t k, int32_t j) { between[j] = listed ? T(0) : positives[k]; });
  });
  return found;
}

}  // namespace

template <typename T>
void centre_points(const LabelDistances<T>& p, int threads) {
  const int64_t n = p.all(), width = p.width;
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
  const int64_t n = p.rows, m = p.columns(), width = p.width;
  threads = team(n * m, kNumbersPerThread, threads);
  T poison = 0;  // NaN where a distance is not finite: what compares with it is no triplet and no term
  if (p.distance != Distance::kCosine) {
    std::vector<T> squares(p.all());
    for (int64_t i = 0; i < p.all(); ++i) {
      const T* x = p.centred + i * width;
      // Among the rows from the product itself, whose rounding equal rows then share.
      squares[i] = p.among() ? p.square[i * m + i] / -2 : -apart(x, x, width, Distance::kCosine);
    }
    const T* of_columns = squares.data() + p.place(0);
    const bool root = p.distance == Distance::kEuclidean && p.terms != LabelTerms::kHardest;
#pragma omp parallel for num_threads(threads) reduction(+ : poison) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) poison += to_distances(p.square + i * m, of_columns, m, squares[i], root);
  } else {
#pragma omp parallel for num_threads(threads) reduction(+ : poison) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) {
      const T* row = p.square + i * m;
      const int64_t before = std::max<int64_t>(p.own(i), 0), after = p.own(i) + 1;  // its own is in no pair
      poison += zeros(row, before) + zeros(row + after, m - after);
    }
  }
  LabelGradient<T> found = p.terms == LabelTerms::kPairs ? pairs(p, threads) : label_triplets(p, threads);
  *p.loss += poison + zeros(p.points, p.all() * width);
  return found;
}

template <typename T>
void label_pulls(const LabelDistances<T>& p, const LabelGradient<T>& found, int64_t learning, T* grad, int threads) {
  const int64_t n = p.rows, m = p.columns(), width = p.width;
  const bool cosine = p.distance == Distance::kCosine;
  if (found.dense) {
    std::vector<T> weights(learning);  // of each point
    if (!cosine) {
      for (int64_t i = 0; i < n; ++i) {
        weights[i] = total(p.square + i * m, m);
        if (learning > n) add(p.square + i * m, m, weights.data() + n);
      }
    }
    const int rows = team(learning * width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(rows) if (rows > 1)
    for (int64_t i = 0; i < learning; ++i) {
      whole(grad + i * width, (cosine ? p.points : p.centred) + i * width, width, weights[i], found.share);
    }
  }
  // A point may be in many pairs: a thread has some of the numbers of all points.
  const auto work = static_cast<int64_t>(found.pulls.size()) * width;
  const int strips = team(work, kNumbersPerThread, threads);
  const int64_t step = strips > 1 ? kStrip : width;
  share_out_with<T>(step, (width + step - 1) / step, strips, [&](int64_t strip, T* unwanted) {
    const int64_t d = strip * step;
    const auto of = [&](int64_t point) { return point < learning ? grad + point * width + d : unwanted; };
    for (const Pull<T>& one : found.pulls) {
      const T *x = p.points + one.i * width + d, *y = p.points + one.j * width + d;
      pull(x, y, std::min(step, width - d), found.share * one.weight, cosine, of(one.i), of(one.j));
    }
  });
}

#define SSLFAST_TYPE(T)                                                     \
  template void centre_points(const LabelDistances<T>&, int);               \
  template LabelGradient<T> label_distances(const LabelDistances<T>&, int); \
  template void label_pulls(const LabelDistances<T>&, const LabelGradient<T>&, int64_t, T*, int);
SSLFAST_TYPE(float)
SSLFAST_TYPE(double)
#undef SSLFAST_TYPE

}  // namespace sslfast::cpu
