// A row at a time, which stays in L1: its logits with those that are left out at -inf, and which these are where label
// smoothing asks, as a logit may be -inf itself; exponentials and sums in lanes, and of these in double the
// log-sum-exp, whose rounding would be one of all weights of a row, the loss and the derivatives.
#include "sslfast/joint_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isa.h"
#include "lane_sums.h"
#include "sslfast/few_pairs.h"
#include "team.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

// What the sum over some columns adds to a loss, and the derivatives of that: in exp(z - most) / total of every column,
// in every counted logit, in the positive's logit and in |scale|.
struct Part {
  double loss, of_shares, of_each, of_positive, of_size;
};

// From logits of n columns, of which exponentials <- exp(logit - most); counts are 1 or 0, of label smoothing.
template <typename T>
inline __attribute__((always_inline)) Part part_of(const JointRows<T>& p, int64_t i, const T* logits, const T* counts,
                                                   int64_t n, int64_t negatives, T* exponentials) {
  const double positive = p.positive[i];
  T most = std::numeric_limits<T>::lowest();  // of no column
#pragma omp simd reduction(max : most)
  for (int64_t c = 0; c < n; ++c) most = logits[c] > most ? logits[c] : most;
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) exponentials[c] = vector_exp(logits[c] - most);
  const T total = sum_in_lanes<false>(exponentials, n, T{0});
  double lse = total == T(0) ? -std::numeric_limits<double>::infinity()
                             : static_cast<double>(most) + std::log(static_cast<double>(total));
  double slope = 1;
  if (p.tau_plus > 0 && negatives > 0) {
    const double of_row = lse;
    debias_pairs(DebiasedPairs<double>{&of_row, &positive, 1, negatives, p.tau_plus, p.scale, &lse, &slope});
  }
  const double z = lse - positive, e = std::exp(-std::fabs(z));
  const double share = (z > 0 ? 1.0 : e) / (1 + e);
  // Infinite logits of positives would count as perfect pairs.
  Part found{(z > 0 ? z : 0.0) + std::log1p(e) + 0 * positive, share * slope, 0, slope == 0 ? -share : -share * slope,
             slope == 0 ? -share : 0.0};
  if (p.smoothing > 0) {
    double sum = positive, count = 1;
#pragma omp simd reduction(+ : sum, count)
    for (int64_t c = 0; c < n; ++c) {
      sum += counts[c] == T(0) ? 0.0 : static_cast<double>(logits[c]);
      count += static_cast<double>(counts[c]);
    }
    found.loss += p.smoothing * (positive - sum / count);
    found.of_each = -p.smoothing / count;
    found.of_positive += p.smoothing + found.of_each;
  }
  found.of_shares = total == T(0) ? 0 : found.of_shares / static_cast<double>(total);
  return found;
}

// weights, of n columns, += the derivatives of part in logits, times factor.
template <typename T>
inline __attribute__((always_inline)) void weigh(const Part& part, double factor, const T* counts,
                                                 const T* exponentials, int64_t n, T* weights) {
  const T of_shares = static_cast<T>(factor * part.of_shares), of_each = static_cast<T>(factor * part.of_each);
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) weights[c] += of_shares * exponentials[c];
  if (counts == nullptr) return;
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) weights[c] += of_each * counts[c];
}

// counts: of every column, or null.
template <typename T>
inline __attribute__((always_inline)) void row_logits(const JointRows<T>& p, int64_t i, T* logits, T* counts) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  const T* similar = p.similar + i * p.columns;
  const T scale = static_cast<T>(p.scale), hard = static_cast<T>(p.scale + p.strength);
  const T limit = p.limits != nullptr ? p.limits[i] : std::numeric_limits<T>::infinity();
#pragma omp simd
  for (int64_t c = 0; c < p.columns; ++c) {
    const T z = scale * similar[c];
    logits[c] = z > limit ? kNone : z;
  }
  if (counts != nullptr) {
#pragma omp simd
    for (int64_t c = 0; c < p.columns; ++c) counts[c] = scale * similar[c] > limit ? T(0) : T(1);
  }
#pragma omp simd
  for (int64_t c = p.hard_begin; c < p.hard_end; ++c) logits[c] = logits[c] == kNone ? kNone : hard * similar[c];
  const auto leave_out = [&](bool there, int64_t size, int64_t own, int64_t id, const int64_t* ids) {
    if (!there) return;
    if (ids != nullptr) {
      for (int64_t c = 0; c < size; ++c) logits[c] = ids[c] == id ? kNone : logits[c];
    }
    logits[own] = kNone;
    logits += size;
    if (counts == nullptr) return;
    if (ids != nullptr) {
      for (int64_t c = 0; c < size; ++c) counts[c] = ids[c] == id ? T(0) : counts[c];
    }
    counts[own] = T(0);
    counts += size;
  };
  const int64_t at = p.positives[i];
  const int64_t query_id = p.query_ids != nullptr ? p.query_ids[i] : 0,
                key_id = p.key_ids != nullptr ? p.key_ids[at] : 0;
  leave_out(p.kinds.queries_of_keys(), p.n, i, key_id, p.query_ids);
  leave_out(p.kinds.key_negatives, p.m, at, key_id, p.key_ids);
  leave_out(p.kinds.query_negatives, p.n, i, query_id, p.query_ids);
  leave_out(p.kinds.in_batch, p.m, at, query_id, p.key_ids);
}

// scratch: 3 columns + n numbers.
template <typename T>
inline __attribute__((always_inline)) void row_body(const JointRows<T>& p, int64_t i, T* scratch) {
  const JointKinds& kinds = p.kinds;
  T *logits = scratch, *exponentials = logits + p.columns, *of_keys = exponentials + p.columns;
  T* counts = p.smoothing > 0 ? of_keys + p.n : nullptr;
  row_logits(p, i, logits, counts);
  const int64_t from = kinds.queries_of_keys() && !kinds.key_to_query ? p.n : 0;
  const int64_t own = kinds.key_to_query + kinds.key_negatives + kinds.query_negatives + kinds.in_batch;
  const double factor =
      (p.factors != nullptr ? p.share * static_cast<double>(p.factors[i]) : p.share) * (kinds.symmetric ? 0.5 : 1.0);
  const T* counts_from = counts != nullptr ? counts + from : nullptr;
  const Part of_query =
      part_of(p, i, logits + from, counts_from, p.columns - from, p.columns - from - own, exponentials + from);
  const Part of_key = kinds.symmetric ? part_of(p, i, logits, counts, p.n, p.n - 1, of_keys) : Part{};
  p.losses[i] = factor * (of_query.loss + of_key.loss);
  if (p.weights == nullptr) return;
  T* weights = p.weights + i * p.columns;
  std::fill_n(weights, p.columns, T(0));
  weigh(of_query, factor, counts_from, exponentials + from, p.columns - from, weights + from);
  if (kinds.symmetric) weigh(of_key, factor, counts, of_keys, p.n, weights);
  const T* similar = p.similar + i * p.columns;
  const T scale = static_cast<T>(p.scale);
  const T along = sum_of<T>(p.columns, [&](int64_t c) { return weights[c] * similar[c]; });
#pragma omp simd
  for (int64_t c = 0; c < p.columns; ++c) weights[c] *= scale;
  p.slopes[i] = factor * (of_query.of_positive + of_key.of_positive);
  p.of_scale[i] =
      static_cast<double>(along) + factor * std::copysign(1.0, p.scale) * (of_query.of_size + of_key.of_size);
}

SSLFAST_ISA_CLONES void joint_row(const JointRows<float>& p, int64_t i, float* scratch) { row_body(p, i, scratch); }
void joint_row(const JointRows<double>& p, int64_t i, double* scratch) { row_body(p, i, scratch); }

template <typename T>
void rows(const JointRows<T>& p, int threads) {
  const int parts = team(p.n * p.columns, kNumbersPerThread, threads);
  share_out(parts, parts, [&](int64_t part) {
    std::vector<T> scratch(3 * p.columns + p.n);
    for (int64_t i = p.n * part / parts; i < p.n * (part + 1) / parts; ++i) joint_row(p, i, scratch.data());
  });
}

}  // namespace

void joint_softmax(const JointRows<float>& p, int threads) { rows(p, threads); }
void joint_softmax(const JointRows<double>& p, int threads) { rows(p, threads); }

}  // namespace sslfast::cpu
