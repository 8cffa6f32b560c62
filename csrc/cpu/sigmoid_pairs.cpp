// The epilogue of a tile of pairs: losses, their sums and their derivatives in one sweep over the row. With
// e = exp(-|z|), log(1 + exp(z)) = max(z, 0) + log1p(e) and the sigmoid is 1 / (1 + e) or e / (1 + e): nothing
// overflows, and the smallest terms keep their relative precision.
#include "sslfast/sigmoid_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isa.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

// sums gets the losses of a row, and their derivatives s_j <- sigmoid(z_j), with those times s_j; `positive` counts 0.
template <typename T>
inline __attribute__((always_inline)) void negatives_body(T* s, int32_t n, T scale, T bias, int32_t positive, T* sums) {
  T loss = 0, d_scale = 0, d_bias = 0;
#pragma omp simd reduction(+ : loss, d_scale, d_bias)
  for (int32_t j = 0; j < n; ++j) {
    const T z = j == positive ? -std::numeric_limits<T>::infinity() : s[j] * scale + bias;
    const T e = vector_exp(-std::fabs(z));
    const T weight = (z > 0 ? T(1) : e) / (1 + e);
    loss += (z > 0 ? z : T(0)) + vector_log1p(e);
    d_scale += weight * s[j];
    d_bias += weight;
    s[j] = weight;
  }
  sums[0] = loss;
  sums[1] = d_scale;
  sums[2] = d_bias;
}

SSLFAST_ISA_CLONES void negatives(float* s, int32_t n, float scale, float bias, int32_t positive, float* sums) {
  negatives_body(s, n, scale, bias, positive, sums);
}
void negatives(double* s, int32_t n, double scale, double bias, int32_t positive, double* sums) {
  negatives_body(s, n, scale, bias, positive, sums);
}

template <typename T>
void tile(const PairTile<T>& t, PairSums& sums, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && t.rows > 1)
  for (int64_t i = 0; i < t.rows; ++i) {
    T* s = t.products + i * t.cols;
    const int64_t positive = t.positives[t.row0 + i] - t.col0;
    const bool here = positive >= 0 && positive < t.cols;
    const T product = here ? s[positive] : T(0);
    T parts[3];
    negatives(s, static_cast<int32_t>(t.cols), t.scale, t.bias, here ? static_cast<int32_t>(positive) : -1, parts);
    double* row_sums = t.row_sums + 3 * i;
    std::copy_n(parts, 3, row_sums);
    if (!here) continue;
    const T z = product * t.scale + t.bias, e = std::exp(-std::fabs(z));
    const T weight = -(z < 0 ? T(1) : e) / (1 + e);
    row_sums[0] += (z < 0 ? -z : T(0)) + std::log1p(e);
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
