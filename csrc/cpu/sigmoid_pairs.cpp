// The epilogue of a tile of pairs: losses, their sums and their derivatives in one sweep over the row. With
// e = exp(-|z|), log(1 + exp(z)) = max(z, 0) + log1p(e) and the sigmoid is 1 / (1 + e) or e / (1 + e): nothing
// overflows, and the smallest terms keep their relative precision. Several pairs share a logarithm, that of the product
// of their 1 + e.
#include "sslfast/sigmoid_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isa.h"
#include "logit_rows.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

// n groups of kShare numbers, number k of group j at s[j + k n]: s <- sigmoid(z) - spread; adds the losses and their
// derivatives by scale and by bias to the sums. `positive` counts 0, and so does what is -inf, for left out; but where
// kAll nothing is left out and spread is 0.
template <int kShare, bool kAll, typename T>
inline __attribute__((always_inline)) void add_negatives(T* s, int32_t n, T scale, T bias, T spread, int32_t positive,
                                                         T* sums) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  T loss = 0, d_scale = 0, d_bias = 0;
#pragma omp simd reduction(+ : loss, d_scale, d_bias)
  for (int32_t j = 0; j < n; ++j) {
    T joint = 0;  // product of the 1 + e, less 1
#pragma GCC unroll 8
    for (int32_t k = 0; k < kShare; ++k) {
      const int32_t at = j + k * n;
      const T given = s[at];
      const bool none = kAll ? at == positive : (at == positive) | (given == kNone);
      const T product = kAll ? given : none ? T(0) : given;  // times a weight of 0 an infinite one would be NaN
      const T logit = product * scale + bias, z = none ? kNone : logit;
      const T e = vector_exp(-std::fabs(z));
      const T less = kAll || none ? T(0) : spread;
      const T weight = (z > 0 ? T(1) : e) / (1 + e) - less;
      joint += e + joint * e;
      loss += (z > 0 ? z : T(0)) - (kAll ? T(0) : less * logit);
      d_scale += weight * product;
      d_bias += weight;
      s[at] = weight;
    }
    loss += vector_log1p_of_product(joint);
  }
  sums[0] += loss;
  sums[1] += d_scale;
  sums[2] += d_bias;
}

template <bool kAll, typename T>
inline __attribute__((always_inline)) void negatives_body(T* s, int32_t n, T scale, T bias, T spread, int32_t positive,
                                                          T* sums) {
  constexpr int kShare = 8, kLanes = 16;
  const int32_t groups = n / (kShare * kLanes) * kLanes, rest = groups * kShare;  // whole vectors of groups
  std::fill_n(sums, 3, T(0));
  add_negatives<kShare, kAll>(s, groups, scale, bias, spread, positive, sums);
  add_negatives<1, kAll>(s + rest, n - rest, scale, bias, spread, positive - rest, sums);
}

SSLFAST_ISA_CLONES void negatives(float* s, int32_t n, float scale, float bias, int32_t positive, float* sums) {
  negatives_body<true>(s, n, scale, bias, 0.0f, positive, sums);
}
void negatives(double* s, int32_t n, double scale, double bias, int32_t positive, double* sums) {
  negatives_body<true>(s, n, scale, bias, 0.0, positive, sums);
}
SSLFAST_ISA_CLONES void some_negatives(float* s, int32_t n, float scale, float bias, float spread, int32_t positive,
                                       float* sums) {
  negatives_body<false>(s, n, scale, bias, spread, positive, sums);
}
void some_negatives(double* s, int32_t n, double scale, double bias, double spread, int32_t positive, double* sums) {
  negatives_body<false>(s, n, scale, bias, spread, positive, sums);
}

template <typename T>
void tile(const PairTile<T>& t, PairSums& sums, int threads) {
  const Excluded<T>& excluded = t.excluded;
  const bool all = excluded.row_ids == nullptr && excluded.row_limits == nullptr && t.spread == 0;
#pragma omp parallel for num_threads(threads) if (threads > 1 && t.rows > 1)
  for (int64_t i = 0; i < t.rows; ++i) {
    T* s = t.products + i * t.cols;
    const int64_t positive = excluded.positives[t.row0 + i] - t.col0;
    const bool here = positive >= 0 && positive < t.cols;
    const T product = here ? s[positive] : T(0);
    if (excluded.row_ids != nullptr) {
      row_exclude_id(s, t.cols, excluded.col_ids + t.col0, excluded.row_ids[t.row0 + i],
                     -std::numeric_limits<T>::infinity());
    }
    if (excluded.row_limits != nullptr) row_exclude_above(s, t.cols, excluded.row_limits[t.row0 + i]);
    T parts[3];
    const auto cols = static_cast<int32_t>(t.cols), own = here ? static_cast<int32_t>(positive) : -1;
    if (all) {
      negatives(s, cols, t.scale, t.bias, own, parts);
    } else {
      some_negatives(s, cols, t.scale, t.bias, t.spread, own, parts);
    }
    double* row_sums = t.row_sums + 3 * i;
    std::copy_n(parts, 3, row_sums);
    if (!here) continue;
    const T z = product * t.scale + t.bias, e = std::exp(-std::fabs(z));
    const T weight = t.spread - (z < 0 ? T(1) : e) / (1 + e);
    // What is infinite in a feature makes nothing infinite for certain but its own pair, which may look perfect: times
    // a spread of 0 it is NaN.
    row_sums[0] += (z < 0 ? -z : T(0)) + std::log1p(e) + t.spread * z;
    row_sums[1] += weight * product;
    row_sums[2] += weight;
    t.positive_weights[t.row0 + i] = weight;
  }
  for (int64_t i = 0; i < t.rows; ++i) {
    sums.loss += t.row_sums[3 * i];
    sums.scale += t.row_sums[3 * i + 1];
    sums.bias += t.row_sums[3 * i + 2];
  }
}

}  // namespace

void sigmoid_pairs_tile(const PairTile<float>& t, PairSums& sums, int threads) { tile(t, sums, threads); }
void sigmoid_pairs_tile(const PairTile<double>& t, PairSums& sums, int threads) { tile(t, sums, threads); }

}  // namespace sslfast::cpu
