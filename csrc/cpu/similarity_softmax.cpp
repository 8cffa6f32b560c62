// The epilogues of the similarity tiles; csrc/ops makes the logits with torch's matrix product. A tile (256 x 1024
// floats, 1 MiB) is still in L2 when its epilogue reads it. Rows are shared out among threads in fixed groups, and
// column sums are first kept per group: the result does not depend on the number of threads.
#include "sslfast/similarity_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "logit_rows.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kGroup = 32;  // rows; a group's column sums (4 KiB) stay in L1

int64_t groups(int64_t rows) { return (rows + kGroup - 1) / kGroup; }

template <typename T>
constexpr T kInf = std::numeric_limits<T>::infinity();

// ---- forward
// ---------------------------------------------------------------------------------------------------------

template <typename T>
void merge(T& shift, T& sum, T tile_shift, T tile_sum) {
  if (tile_shift == shift) {
    sum += tile_sum;
  } else if (tile_shift > shift) {
    sum = sum * std::exp(shift - tile_shift) + tile_sum;
    shift = tile_shift;
  } else {
    sum += tile_sum * std::exp(tile_shift - shift);
  }
}

// Far below the tile's maximum exp flushes to zero. A sum that small is taken again with a shift of its own.
template <typename T>
constexpr T kTooSmall = T(1e-20);

template <typename T>
void merge_exactly(T& shift, T& sum, T tile_shift, T tile_sum, const T* s, int64_t n, int64_t stride) {
  if (!(tile_sum < kTooSmall<T>)) return merge(shift, sum, tile_shift, tile_sum);
  T best = -kInf<T>, own = 0;
  for (int64_t k = 0; k < n; ++k) best = std::max(best, s[k * stride]);
  if (best == -kInf<T>) return;
  for (int64_t k = 0; k < n; ++k) own += std::exp(s[k * stride] - best);
  merge(shift, sum, best, own);
}

// A positive is left out of the sums of the row it belongs to, but S_ij is also S_ji: unless it is the positive of
// both, it counts as a negative in the other's sum. Excluded entries become -inf in the tile; what the other side
// misses by that is added here, before the tile is summed.
template <typename T>
void exclude(const SimilarityTile<T>& t, const SimilaritySums<T>& sums) {
  const bool diagonal = t.row0 == t.col0;
  auto take = [&](T& logit, int64_t owner, int64_t other, bool counts_for_other) {
    sums.positive_logits[owner] = logit;
    if (counts_for_other)
      merge(sums.shift[other], sums.sum[other], sums.bounded ? T(0) : logit, sums.bounded ? std::exp(logit) : T(1));
  };
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t row = t.row0 + i, j = t.positives[row] - t.col0;
    if (diagonal) t.logits[i * t.cols + i] = -kInf<T>;
    if (j < 0 || j >= t.cols) continue;
    T& logit = t.logits[i * t.cols + j];
    take(logit, row, t.col0 + j, !diagonal && t.positives[t.col0 + j] != row);
    if (diagonal) logit = -kInf<T>;  // the entry (j, i) serves row j
  }
  if (diagonal) return;
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t column = t.col0 + j, i = t.positives[column] - t.row0;
    if (i < 0 || i >= t.rows) continue;
    take(t.logits[i * t.cols + j], column, t.row0 + i, t.positives[t.row0 + i] != column);
  }
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t j = t.positives[t.row0 + i] - t.col0;
    if (j >= 0 && j < t.cols) t.logits[i * t.cols + j] = -kInf<T>;
  }
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t i = t.positives[t.col0 + j] - t.row0;
    if (i >= 0 && i < t.rows) t.logits[i * t.cols + j] = -kInf<T>;
  }
}

template <typename T>
void forward_tile(const SimilarityTile<T>& t, const SimilaritySums<T>& sums, int threads) {
  exclude(t, sums);
  const int64_t count = groups(t.rows);
  const bool parallel = threads > 1 && count > 1;
  T shift = 0;
  if (!sums.bounded) {
    shift = -kInf<T>;
#pragma omp parallel for num_threads(threads) if (parallel) reduction(max : shift)
    for (int64_t i = 0; i < t.rows; ++i) shift = std::max(shift, row_max(t.logits + i * t.cols, t.cols));
    if (shift == -kInf<T>) shift = 0;  // nothing to sum, or NaN, which the sums must show
  }
  T* row_sums = sums.scratch;
  T* column_sums = sums.scratch + t.rows;  // (count, cols)
#pragma omp parallel for num_threads(threads) if (parallel)
  for (int64_t g = 0; g < count; ++g) {
    T* group_sums = column_sums + g * t.cols;
    std::fill_n(group_sums, t.cols, T(0));
    for (int64_t i = g * kGroup; i < std::min(t.rows, (g + 1) * kGroup); ++i) {
      row_sums[i] = row_exp(t.logits + i * t.cols, t.cols, shift, group_sums);
    }
  }
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t row = t.row0 + i;
    if (sums.bounded) {
      sums.sum[row] += row_sums[i];
    } else {
      merge_exactly(sums.shift[row], sums.sum[row], shift, row_sums[i], t.logits + i * t.cols, t.cols, int64_t{1});
    }
  }
  if (t.row0 == t.col0) return;
  for (int64_t g = 1; g < count; ++g) row_add(column_sums, column_sums + g * t.cols, t.cols);
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t column = t.col0 + j;
    if (sums.bounded) {
      sums.sum[column] += column_sums[j];
    } else {
      merge_exactly(sums.shift[column], sums.sum[column], shift, column_sums[j], t.logits + j, t.rows, t.cols);
    }
  }
}

// ---- backward
// --------------------------------------------------------------------------------------------------------

template <typename T>
void extremes(const T* lse, int64_t n, T& low, T& high) {
  for (int64_t k = 0; k < n; ++k) {
    if (lse[k] == -kInf<T>) continue;  // a row without negatives
    low = std::min(low, lse[k]);
    high = std::max(high, lse[k]);
  }
}

// The weight of logit s in the gradient, seen from row `from` towards row `to`.
template <typename T>
T one_sided(const SimilarityTile<T>& t, const SimilarityGrads<T>& g, T s, int64_t from, int64_t to) {
  if (t.positives[from] == to) return g.grad_positive[from];
  return g.grad_lse[from] * std::exp(s - g.lse[from]);
}

template <typename T>
void backward_tile(const SimilarityTile<T>& t, const SimilarityGrads<T>& g, int threads) {
  const bool diagonal = t.row0 == t.col0;
  // Positives are patched in at the end; their logits may lie above the log-sum-exp of the negatives, where exp could
  // overflow, so they leave the tile first.
  T* row_positive = g.scratch;              // (rows): logit at the positive of row i
  T* column_positive = g.scratch + t.rows;  // (cols)
  T* weights = column_positive + t.cols;    // (cols)
  auto inside = [](int64_t k, int64_t n) { return k >= 0 && k < n; };
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t j = t.positives[t.row0 + i] - t.col0;
    if (inside(j, t.cols)) row_positive[i] = t.logits[i * t.cols + j];
  }
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t i = t.positives[t.col0 + j] - t.row0;
    if (inside(i, t.rows)) column_positive[j] = t.logits[i * t.cols + j];
  }
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t j = t.positives[t.row0 + i] - t.col0;
    if (inside(j, t.cols)) t.logits[i * t.cols + j] = -kInf<T>;
    if (diagonal) t.logits[i * t.cols + i] = -kInf<T>;
  }
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t i = t.positives[t.col0 + j] - t.row0;
    if (inside(i, t.rows)) t.logits[i * t.cols + j] = -kInf<T>;
  }

  // With one center for the tile, both terms share one exp:
  // a_i exp(s - n_i) + a_j exp(s - n_j) = exp(s - c) (a_i exp(c - n_i) + a_j exp(c - n_j)).
  const T* row_lse = g.lse + t.row0;
  const T* column_lse = g.lse + t.col0;
  T low = kInf<T>, high = -kInf<T>;
  extremes(row_lse, t.rows, low, high);
  extremes(column_lse, t.cols, low, high);
  const bool together = high - low < T(60);
  const T center = low > high ? T(0) : low + (high - low) / 2;
  for (int64_t j = 0; j < t.cols; ++j) {
    const T a = g.grad_lse[t.col0 + j];
    weights[j] = together && a != 0 ? a * std::exp(center - column_lse[j]) : a;
  }
#pragma omp parallel for num_threads(threads) if (threads > 1 && t.rows > kGroup)
  for (int64_t i = 0; i < t.rows; ++i) {
    T* s = t.logits + i * t.cols;
    const T a = g.grad_lse[t.row0 + i];
    if (together) {
      row_weights(s, t.cols, center, a != 0 ? a * std::exp(center - row_lse[i]) : a, weights);
    } else {
      row_weights_apart(s, t.cols, row_lse[i], a, column_lse, weights);
    }
  }

  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t row = t.row0 + i, j = t.positives[row] - t.col0;
    if (!inside(j, t.cols)) continue;
    const T s = row_positive[i];
    t.logits[i * t.cols + j] = one_sided(t, g, s, row, t.col0 + j) + one_sided(t, g, s, t.col0 + j, row);
  }
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t column = t.col0 + j, i = t.positives[column] - t.row0;
    if (!inside(i, t.rows)) continue;
    const T s = column_positive[j];
    t.logits[i * t.cols + j] = one_sided(t, g, s, column, t.row0 + i) + one_sided(t, g, s, t.row0 + i, column);
  }
}

}  // namespace

int64_t similarity_scratch(int64_t rows, int64_t cols) { return rows + 2 * cols + groups(rows) * cols; }

void similarity_forward_tile(const SimilarityTile<float>& t, const SimilaritySums<float>& sums, int threads) {
  forward_tile(t, sums, threads);
}
void similarity_forward_tile(const SimilarityTile<double>& t, const SimilaritySums<double>& sums, int threads) {
  forward_tile(t, sums, threads);
}
void similarity_backward_tile(const SimilarityTile<float>& t, const SimilarityGrads<float>& grads, int threads) {
  backward_tile(t, grads, threads);
}
void similarity_backward_tile(const SimilarityTile<double>& t, const SimilarityGrads<double>& grads, int threads) {
  backward_tile(t, grads, threads);
}

}  // namespace sslfast::cpu
