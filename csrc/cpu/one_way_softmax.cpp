// The end of a strip's softmax, and its exponentials on their way to gradients: one multiplication a number, since what
// lies between the shift of a tile and the log-sum-exp of its row is one factor.
#include "sslfast/one_way_softmax.h"

#include <cmath>
#include <limits>

#include "logit_rows.h"

namespace sslfast::cpu {
namespace {

// log(exp(a) + exp(b)); NaN if one of them is.
template <typename T>
T log_add(T a, T b) {
  if (a == b) return a + std::log(T(2));
  const T high = a > b ? a : b, low = a > b ? b : a;
  return high + std::log1p(std::exp(low - high));
}

template <typename T>
void finish(const OneWayRows<T>& r, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    T lse = r.shift[i] + std::log(r.sum[i]);
    if (r.known_lse != nullptr) lse = log_add(lse, r.known_lse[i]);
    // Both branches keep the relative precision of a small loss and of its derivative.
    const T z = lse - r.positive[i], e = std::exp(-std::fabs(z));
    r.lse[i] = lse;
    r.loss[i] = (z > 0 ? z : T(0)) + std::log1p(e);
    r.share[i] = (r.weights != nullptr ? r.weights[i] : T(1)) * ((z > 0 ? T(1) : e) / (1 + e));
  }
}

template <typename T>
void weigh(T* tile, int64_t rows, int64_t cols, const OneWayWeights<T>& w, int threads) {
  const LabelShares<T>& labels = w.labels;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 32)
  for (int64_t i = 0; i < rows; ++i) {
    T* row = tile + i * cols;
    // Where a tile has nothing to sum its numbers are 0; a NaN among them is one in lse, too.
    const bool nothing = w.shift[i] == -std::numeric_limits<T>::infinity();
    row_scale(row, cols, nothing ? T(0) : w.share[i] * std::exp(w.shift[i] - w.lse[i]));
    if (labels.row_labels == nullptr || labels.rows[i] == T(0)) continue;
    row_subtract_shares(row, cols, labels.col_labels, labels.row_labels[i], labels.rows[i], labels.cols);
    const int64_t j = w.positives[i] - w.col0;
    if (j >= 0 && j < cols) row[j] = 0;
  }
}

}  // namespace

void one_way_rows(const OneWayRows<float>& rows, int64_t count) { finish(rows, count); }
void one_way_rows(const OneWayRows<double>& rows, int64_t count) { finish(rows, count); }
void one_way_weights(float* tile, int64_t rows, int64_t cols, const OneWayWeights<float>& weights, int threads) {
  weigh(tile, rows, cols, weights, threads);
}
void one_way_weights(double* tile, int64_t rows, int64_t cols, const OneWayWeights<double>& weights, int threads) {
  weigh(tile, rows, cols, weights, threads);
}

}  // namespace sslfast::cpu
