// The epilogues of the tiles of rows with columns: the positives are taken out before the sums and the weights, which
// are logit_tile's.
#include "sslfast/cross_softmax.h"

#include "logit_tile.h"

namespace sslfast::cpu {
namespace {

template <typename T>
void clear_positives(const CrossTile<T>& t) {
  for (int64_t i = 0; i < t.rows; ++i) {
    const int64_t j = t.excluded.positives[t.row0 + i] - t.col0;
    if (j >= 0 && j < t.cols) t.logits[i * t.cols + j] = 0;
  }
}

template <typename T>
void forward_tile(const CrossTile<T>& t, const CrossSums<T>& sums, int threads) {
  exclude(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const TileSums<T> row_sums{sums.row_shift + t.row0, sums.row_sum + t.row0};
  const TileSums<T> col_sums{sums.col_shift + t.col0, sums.col_sum + t.col0};
  add_tile(t.logits, t.rows, t.cols, row_sums, sums.col_sum != nullptr ? col_sums : TileSums<T>{}, sums.bounded,
           sums.scratch, threads);
}

template <typename T>
void backward_tile(const CrossTile<T>& t, const CrossGrads<T>& g, int threads) {
  // What is left out may lie above the log-sum-exp of the rest, where exp could overflow.
  exclude(t.logits, t.rows, t.cols, t.row0, t.col0, t.excluded, threads);
  const TileGrads<T> row_grads{g.row_lse + t.row0, g.grad_row + t.row0};
  const TileGrads<T> col_grads{g.col_lse + t.col0, g.grad_col + t.col0};
  weigh_tile(t.logits, t.rows, t.cols, row_grads, g.grad_col != nullptr ? col_grads : TileGrads<T>{},
             g.shares.at(t.row0, t.col0), g.scratch, threads);
  if (g.shares.row_labels != nullptr) clear_positives(t);
}

}  // namespace

int64_t cross_scratch(int64_t rows, int64_t cols) { return logit_scratch(rows, cols); }

void cross_forward_tile(const CrossTile<float>& t, const CrossSums<float>& sums, int threads) {
  forward_tile(t, sums, threads);
}
void cross_forward_tile(const CrossTile<double>& t, const CrossSums<double>& sums, int threads) {
  forward_tile(t, sums, threads);
}
void cross_backward_tile(const CrossTile<float>& t, const CrossGrads<float>& grads, int threads) {
  backward_tile(t, grads, threads);
}
void cross_backward_tile(const CrossTile<double>& t, const CrossGrads<double>& grads, int threads) {
  backward_tile(t, grads, threads);
}

}  // namespace sslfast::cpu
