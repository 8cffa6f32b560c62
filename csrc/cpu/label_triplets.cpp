#include <algorithm>
#include <cmath>
#include <limits>

#include "isa.h"
#include "label_lists.h"
#include "point_pairs.h"
#include "square.h"
#include "team.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T>
constexpr T kFar = std::numeric_limits<T>::infinity();

constexpr int64_t kLanes = 16;

template <typename T>
SSLFAST_INLINE T least_body(const T* s, int64_t n) {
  T best = kFar<T>;
#pragma omp simd reduction(min : best)
  for (int64_t j = 0; j < n; ++j) best = s[j] < best ? s[j] : best;
  return best;
}

// The negatives nearer than `reach`, of the semi-hard ones farther than `near`, too: what `reach` exceeds them by in
// all, and their number; one more for each of them in `counts`.
template <typename T>
SSLFAST_INLINE T reach_body(const T* between, int64_t n, T reach, T near, T* counts, T* number) {
  T ones[kLanes] = {};
  const T sum = sum_of<T>(n, [&](int64_t j) {
    const bool within = (between[j] < reach) & (between[j] > near);
    const T one = within ? T(1) : T(0);
    counts[j] += one;
    ones[j % kLanes] += one;
    return within ? reach - between[j] : T(0);
  });
  *number = 0;
  for (const T one : ones) *number += one;  // whole numbers
  return sum;
}

// between <- minus the counts, for a difference of points.
template <typename T>
SSLFAST_INLINE void weigh_body(T* between, const T* counts, int64_t n, Distance distance) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) between[j] = per_difference(-counts[j], between[j], distance);
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROWS(T, CLONES)                                                                                  \
  CLONES T least(const T* s, int64_t n) { return least_body(s, n); }                                             \
  CLONES T apart(const T* x, const T* y, int64_t n, Distance distance) { return apart_body(x, y, n, distance); } \
  CLONES T within(const T* between, int64_t n, T reach, T near, T* counts, T* number) {                          \
    return reach_body(between, n, reach, near, counts, number);                                                  \
  }                                                                                                              \
  CLONES void weigh(T* between, const T* counts, int64_t n, Distance distance) {                                 \
    weigh_body(between, counts, n, distance);                                                                    \
  }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

// Points, -1 of none.
template <typename T>
struct Hardest {
  int32_t positive = -1, negative = -1;
  T to_positive = 0, to_negative = 0, between = 0, loss = 0, slope = 0;
  bool swapped = false;
};

template <typename T>
Hardest<T> hardest_of(const LabelDistances<T>& p, const LabelLists& lists, int64_t i) {
  const int64_t m = p.columns(), width = p.width, own = p.own(i);
  T* squares = p.square + i * m;
  Hardest<T> of;
  T farthest = -kFar<T>;
  lists.each(i, [&](int64_t, int32_t j) {
    if (squares[j] > farthest) {
      farthest = squares[j];
      of.positive = static_cast<int32_t>(p.place(j));
    }
    squares[j] = kFar<T>;
  });
  if (own >= 0) squares[own] = kFar<T>;
  const T nearest = least(squares, m);
  if (of.positive < 0 || nearest == kFar<T>) return {};
  of.negative = static_cast<int32_t>(p.place(std::find(squares, squares + m, nearest) - squares));
  const T *a = p.row(i), *q = p.row(of.positive), *r = p.row(of.negative);
  of.to_positive = apart(a, q, width, p.distance);
  of.to_negative = apart(a, r, width, p.distance);
  T excess = of.to_positive - of.to_negative + p.margin;
  if (p.swap) {
    of.between = apart(q, r, width, p.distance);
    of.swapped = of.between < of.to_negative;
    if (of.swapped) excess = of.to_positive - of.between + p.margin;
  }
  if (p.smooth) {
    const T e = vector_exp_of_negative(excess < 0 ? excess : -excess);
    of.loss = (excess < 0 ? T(0) : excess) + vector_log1p(e);
    of.slope = (excess < 0 ? e : T(1)) / (1 + e);
  } else {
    of.loss = excess > 0 ? excess : T(0);
    of.slope = excess > 0 ? T(1) : T(0);
  }
  return of;
}

double share_of(Reduction reduction, double taken, double above) {
  return reduction == Reduction::kSum ? 1 : 1 / std::max(reduction == Reduction::kMean ? taken : above, 1.0);
}

template <typename T>
LabelGradient<T> hardest(const LabelDistances<T>& p, const LabelLists& lists, int threads) {
  const int64_t n = p.rows;
  std::vector<Hardest<T>> of_rows(n);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < n; ++i) of_rows[i] = hardest_of(p, lists, i);
  double sum = 0, taken = 0, above = 0;
  for (const Hardest<T>& of : of_rows) {
    sum += static_cast<double>(of.loss);
    taken += of.positive >= 0;
    above += of.loss > 0;
  }
  const double share = share_of(p.reduction, taken, above);
  *p.loss = static_cast<T>(sum * share);
  LabelGradient<T> found{false, static_cast<T>(share)};
  if (!p.need_grad) return found;
  found.pulls.reserve(2 * n);
  for (int64_t i = 0; i < n; ++i) {
    const Hardest<T>& of = of_rows[i];
    if (of.positive < 0 || of.slope == 0) continue;
    const auto row = static_cast<int32_t>(i);
    found.pulls.push_back({row, of.positive, per_difference(of.slope, of.to_positive, p.distance)});
    if (of.swapped) {
      found.pulls.push_back({of.positive, of.negative, per_difference(-of.slope, of.between, p.distance)});
    } else {
      found.pulls.push_back({row, of.negative, per_difference(-of.slope, of.to_negative, p.distance)});
    }
  }
  return found;
}

struct Taken {
  double total = 0, above = 0;
};

// All triplets of an anchor, whose distances become weights; `positives` and `numbers` for as many as these are.
template <typename T>
Taken triplets_of(const LabelDistances<T>& p, const LabelLists& lists, int64_t i, T* positives, T* numbers, T* counts) {
  const int64_t m = p.columns(), own = p.own(i), k = lists.positives(i);
  T* between = p.square + i * m;
  lists.each(i, [&](int64_t q, int32_t j) {
    positives[q] = between[j];
    between[j] = kFar<T>;
  });
  if (own >= 0) between[own] = kFar<T>;
  std::fill_n(counts, m, T(0));
  Taken taken;
  for (int64_t q = 0; q < k; ++q) {
    const T near = p.terms == LabelTerms::kSemiHard ? positives[q] : -kFar<T>;
    taken.total += static_cast<double>(within(between, m, positives[q] + p.margin, near, counts, numbers + q));
    taken.above += static_cast<double>(numbers[q]);
  }
  if (!p.need_grad) return taken;
  weigh(between, counts, m, p.distance);
  lists.each(i, [&](int64_t q, int32_t j) { between[j] = per_difference(numbers[q], positives[q], p.distance); });
  return taken;
}

template <typename T>
LabelGradient<T> triplets(const LabelDistances<T>& p, const LabelLists& lists, int threads) {
  const int64_t n = p.rows, m = p.columns();
  std::vector<Taken> of_rows(n);
  share_out_with<T>(3 * m, n, threads, [&](int64_t i, T* scratch) {
    of_rows[i] = triplets_of(p, lists, i, scratch, scratch + m, scratch + 2 * m);
  });
  double sum = 0, above = 0, all = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += of_rows[i].total;
    above += of_rows[i].above;
    all += static_cast<double>(lists.positives(i) * lists.negatives(i));
  }
  const double share = share_of(p.reduction, p.terms == LabelTerms::kSemiHard ? above : all, above);
  *p.loss = static_cast<T>(sum * share);
  if (p.need_grad && p.among()) add_transposed(p.square, n, threads);
  return {p.need_grad, static_cast<T>(share), {}};
}

}  // namespace

template <typename T>
LabelGradient<T> label_triplets(const LabelDistances<T>& p, int threads) {
  const LabelLists lists(p);
  return p.terms == LabelTerms::kHardest ? hardest(p, lists, threads) : triplets(p, lists, threads);
}

template LabelGradient<float> label_triplets(const LabelDistances<float>&, int);
template LabelGradient<double> label_triplets(const LabelDistances<double>&, int);

}  // namespace sslfast::cpu
