#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

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

// Numbers that are equal one after the other are counted apart: an addition waits for the last one to its place.
constexpr int64_t kBins = 4;

template <typename T>
SSLFAST_INLINE T least_body(const T* s, int64_t n) {
  T best = kFar<T>;
#pragma omp simd reduction(min : best)
  for (int64_t j = 0; j < n; ++j) best = s[j] < best ? s[j] : best;
  return best;
}

// How many of the sorted numbers, of which there are 2 step - 1, are below each x, or no more than it; step is a power
// of two.
template <typename T>
SSLFAST_INLINE void places_body(const T* sorted, int32_t step, const T* x, int64_t n, bool equal, int32_t* places) {
  const auto passed = [&](T other, T of) { return (other < of) | (equal & (other == of)) ? step : 0; };
  const T middle = sorted[step - 1];
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) places[j] = passed(middle, x[j]);
  for (step /= 2; step > 0; step /= 2) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) places[j] += passed(sorted[places[j] + step - 1], x[j]);
  }
}

// counts <- to - from, and `to` where it is less than `from` becomes that. Returns the counts' product with `between`.
template <typename T>
SSLFAST_INLINE double count_body(const int32_t* from, int32_t* to, const T* between, int64_t n, T* counts) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    to[j] = to[j] < from[j] ? from[j] : to[j];
    counts[j] = static_cast<T>(to[j] - from[j]);
  }
  return sum_of<double>(n, [&](int64_t j) {
    return counts[j] > 0 ? static_cast<double>(counts[j]) * static_cast<double>(between[j]) : 0.0;
  });
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
  CLONES void search(const T* sorted, int32_t step, const T* x, int64_t n, bool equal, int32_t* places) {        \
    equal ? places_body(sorted, step, x, n, true, places) : places_body(sorted, step, x, n, false, places);      \
  }                                                                                                              \
  CLONES double count(const int32_t* from, int32_t* to, const T* between, int64_t n, T* counts) {                \
    return count_body(from, to, between, n, counts);                                                             \
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

// What a thread needs for an anchor: the distances of its positives, the numbers of negatives that each of them
// reaches, of every column the counts of positives that reach it, and what in_order() makes them from.
template <typename T>
struct Scratch {
  explicit Scratch(int64_t m)
      : positives(m), numbers(m), counts(m), near(2 * m), reach(2 * m), first(m), last(m), bins(kBins * (m + 1)) {}
  std::vector<T> positives, numbers, counts, near, reach;
  std::vector<int32_t> first, last, bins;
};

// In the order of the positives those that reach a negative are a run, [first, last): from the first that reaches
// beyond it, and of semi-hard ones up to the first that is no nearer. A positive is in as many runs as have begun and
// not ended. The terms' sum is that of the distances times their weights, which are whole numbers.
template <typename T>
Taken in_order(const LabelDistances<T>& p, const T* between, int64_t k, Scratch<T>& s) {
  const int64_t m = p.columns();
  const bool semi = p.terms == LabelTerms::kSemiHard;
  const auto step = static_cast<int32_t>(std::bit_floor(static_cast<uint64_t>(k)));
  // A NaN, which has no order, is out of it: it has made the loss one. Behind the last they are below no distance.
  std::transform(s.positives.data(), s.positives.data() + k, s.near.data(),
                 [](T x) { return x < kFar<T> ? x : kFar<T>; });
  std::sort(s.near.data(), s.near.data() + k);
  std::transform(s.near.data(), s.near.data() + k, s.reach.data(), [&](T x) { return x + p.margin; });
  for (std::vector<T>* padded : {&s.near, &s.reach}) {
    std::fill(padded->begin() + k, padded->begin() + (2 * step - 1), std::numeric_limits<T>::quiet_NaN());
  }
  int32_t *first = s.first.data(), *last = s.last.data(), *bins = s.bins.data();
  search(s.reach.data(), step, between, m, true, first);
  if (semi) {
    search(s.near.data(), step, between, m, false, last);
  } else {
    std::fill_n(last, m, static_cast<int32_t>(k));
  }
  Taken taken;
  taken.total = -count(first, last, between, m, s.counts.data());
  std::fill_n(bins, kBins * (k + 1), 0);
  for (int64_t j = 0; j < m; ++j) ++bins[kBins * first[j] + j % kBins];
  for (int64_t j = 0; semi && j < m; ++j) --bins[kBins * last[j] + j % kBins];
  for (int64_t q = 0, number = 0; q < k; ++q) {
    for (int64_t b = 0; b < kBins; ++b) number += bins[kBins * q + b];
    bins[q] = static_cast<int32_t>(number);
    if (number == 0) continue;
    taken.total += static_cast<double>(number) * static_cast<double>(s.reach[q]);
    taken.above += static_cast<double>(number);
  }
  if (!p.need_grad) return taken;
  search(s.near.data(), step, s.positives.data(), k, false, first);
  for (int64_t q = 0; q < k; ++q) s.numbers[q] = static_cast<T>(bins[first[q]]);
  return taken;
}

// All triplets of an anchor, whose distances become weights.
template <typename T>
Taken triplets_of(const LabelDistances<T>& p, const LabelLists& lists, int64_t i, Scratch<T>& s) {
  const int64_t m = p.columns(), own = p.own(i), k = lists.positives(i);
  T* between = p.square + i * m;
  lists.each(i, [&](int64_t q, int32_t j) {
    s.positives[q] = between[j];
    between[j] = kFar<T>;
  });
  if (own >= 0) between[own] = kFar<T>;
  if (k == 0) {
    std::fill_n(between, m, T(0));
    return {};
  }
  const Taken taken = in_order(p, between, k, s);
  if (!p.need_grad) return taken;
  weigh(between, s.counts.data(), m, p.distance);
  lists.each(i, [&](int64_t q, int32_t j) { between[j] = per_difference(s.numbers[q], s.positives[q], p.distance); });
  return taken;
}

template <typename T>
LabelGradient<T> triplets(const LabelDistances<T>& p, const LabelLists& lists, int threads) {
  const int64_t n = p.rows, m = p.columns();
  std::vector<Taken> of_rows(n);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Scratch<T> scratch(m);
#pragma omp for
    for (int64_t i = 0; i < n; ++i) of_rows[i] = triplets_of(p, lists, i, scratch);
  }
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
