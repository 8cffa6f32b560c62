// The tiles of rows with a queue, one after the other: shared by the operators that end with a log-sum-exp per row and
// the queue's mean, or with what losses make of these.
#pragma once

#include <algorithm>
#include <limits>

#include "sslfast/excluded.h"
#include "sslfast/queue_softmax.h"
#include "tile_products.h"

namespace sslfast::ops {

// A float tile is 1 MiB and stays in L2. The higher it is, the fewer times the queue is packed for products.
constexpr int64_t kQueueRows = 1024, kQueueCols = 256;

// What a softmax of n rows over a queue of k entries of width d fills.
template <typename T>
struct QueueResults {
  T *lse, *sum;  // (n), the sums being scratch
  T* mean;       // (n, d) or null
  T* tile;       // (size): scratch
  int64_t n, k, d;

  static int64_t size(int64_t n, int64_t k) { return std::min(kQueueRows, n) * std::min(kQueueCols, k); }
};

template <typename Products, typename T>
void queue_tiles(Products& products, const QueueResults<T>& r, const Excluded<T>& excluded, double factor,
                 int threads) {
  std::fill_n(r.lse, r.n, -std::numeric_limits<T>::infinity());
  std::fill_n(r.sum, r.n, T(0));
  const bool once = r.k <= kQueueCols;  // then no mean is added to
  if (r.mean != nullptr && !once) std::fill_n(r.mean, r.n * r.d, T(0));
  for (int64_t row0 = 0; row0 < r.n; row0 += kQueueRows) {
    const int64_t rows = std::min(kQueueRows, r.n - row0);
    const QueueSums<T> sums{r.lse + row0, r.sum + row0, r.mean != nullptr && !once ? r.mean + row0 * r.d : nullptr,
                            r.d};
    for (int64_t col0 = 0; col0 < r.k; col0 += kQueueCols) {
      const TilePlace t{row0, rows, col0, std::min(kQueueCols, r.k - col0)};
      products.logits(t, r.tile, factor, factor);
      cpu::exclude(r.tile, t.rows, t.cols, row0, col0, excluded, threads);
      cpu::queue_softmax_tile(r.tile, t.rows, t.cols, sums, threads);
      if (r.mean == nullptr) continue;
      products.weigh(t, r.tile, true, false);
      products.to_rows(t, r.tile, r.mean, 1, !once);
    }
    cpu::queue_softmax_finish(rows, QueueSums<T>{sums.shift, sums.sum, r.mean ? r.mean + row0 * r.d : nullptr, r.d});
  }
}

}  // namespace sslfast::ops
