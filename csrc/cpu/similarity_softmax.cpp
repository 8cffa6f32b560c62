// The epilogues of the tiles of rows with themselves: what is excluded, and what the positives weigh. The sums and the
// weights between are logit_tile's.
#include "sslfast/similarity_softmax.h"

#include <algorithm>
#include <cmath>

#include "logit_tile.h"

namespace sslfast::cpu {
namespace {

// A positive is left out of the sums of the row it belongs to, but S_ij is also S_ji: unless it is the positive of
// both, it counts as a negative in the other's sum. Excluded entries become -inf in the tile; what the other side
// misses by that is added here, before the tile is summed.
template <typename T>
void exclude(const SimilarityTile<T>& t, const SimilaritySums<T>& sums) {
  const bool diagonal = t.row0 == t.col0;
  auto take = [&](T& logit, int64_t owner, int64_t other, bool counts_for_other) {
    sums.positive_logits[owner] = logit;
    if (counts_for_other)
      merge_sums(sums.shift[other], sums.sum[other], sums.bounded ? T(0) : logit,
                 sums.bounded ? std::exp(logit) : T(1));
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

// Undoes that for backward, where the tile is kept; the diagonal is no logit. Nor is the positive of both of its rows,
// which has no weight and would widen the tile's range.
template <typename T>
void restore_positives(const SimilarityTile<T>& t, const T* positive_logits) {
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t j = t.positives[t.row0 + i] - t.col0;
    if (j < 0 || j >= t.cols || t.positives[t.col0 + j] == t.row0 + i) continue;
    t.logits[i * t.cols + j] = positive_logits[t.row0 + i];
  }
  for (int64_t j = 0; j < t.cols; ++j) {
    const int64_t i = t.positives[t.col0 + j] - t.row0;
    if (i < 0 || i >= t.rows || t.positives[t.row0 + i] == t.col0 + j) continue;
    t.logits[i * t.cols + j] = positive_logits[t.col0 + j];
  }
}

template <typename T>
void forward_tile(const SimilarityTile<T>& t, const SimilaritySums<T>& sums, int threads) {
  exclude(t, sums);
  const bool diagonal = t.row0 == t.col0;  // such a tile, made whole, serves its rows alone
  const TileSums<T> row_sums{sums.shift + t.row0, sums.sum + t.row0}, col_sums{sums.shift + t.col0, sums.sum + t.col0};
  add_tile(t.logits, t.rows, t.cols, row_sums, diagonal ? TileSums<T>{} : col_sums, sums.bounded, sums.scratch,
           threads);
  restore_positives(t, sums.positive_logits);
}

// The weight of logit s in the gradient, seen from row `from` towards row `to`, which has none in the tile if it is the
// positive.
template <typename T>
T one_sided(const SimilarityTile<T>& t, const SimilarityGrads<T>& g, T s, int64_t from, int64_t to) {
  if (t.positives[from] == to) return T(0);
  return g.grad_lse[from] * std::exp(s - g.lse[from]);
}

template <typename T>
void backward_tile(const SimilarityTile<T>& t, const SimilarityGrads<T>& g, int threads) {
  const bool diagonal = t.row0 == t.col0;
  // Positives, which may be negatives of the other row, are patched in at the end; their logits may lie above the
  // log-sum-exp of the negatives, where exp could overflow, so they leave the tile first.
  T* row_positive = g.scratch;              // (rows): logit at the positive of row i
  T* column_positive = g.scratch + t.rows;  // (cols)
  T* scratch = column_positive + t.cols;
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

  weigh_tile(t.logits, t.rows, t.cols, TileGrads<T>{g.lse + t.row0, g.grad_lse + t.row0},
             TileGrads<T>{g.lse + t.col0, g.grad_lse + t.col0}, g.shares.at(t.row0, t.col0), scratch, threads);

  if (diagonal && g.shares.row_labels != nullptr) {
    for (int64_t i = 0; i < t.rows; ++i) t.logits[i * t.cols + i] = 0;  // a row is of its own label
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

int64_t similarity_scratch(int64_t rows, int64_t cols) { return rows + cols + logit_scratch(rows, cols); }

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
