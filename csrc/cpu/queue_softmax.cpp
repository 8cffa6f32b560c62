// The epilogue of a tile of logits of rows with a queue, as in flash attention with the queue for keys and values:
// a running maximum per row, and what was summed under an older one is scaled to the new one.
#include "sslfast/queue_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "logit_rows.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename T>
void tile(T* logits, int64_t rows, int64_t cols, const QueueSums<T>& sums, int threads) {
  share_out(rows, team(rows * cols, kNumbersPerThread, threads), [&](int64_t i) {
    T* s = logits + i * cols;
    const T shift = std::max(sums.shift[i], row_max(s, cols));
    if (shift == -std::numeric_limits<T>::infinity() && sums.sum[i] == 0) {
      // Nothing to sum so far. A NaN is no maximum, but shows in the sum.
      sums.sum[i] = row_exp_in_place(s, cols, T(0));
      return;
    }
    if (shift > sums.shift[i]) {
      const T factor = std::exp(sums.shift[i] - shift);
      sums.sum[i] *= factor;
      if (sums.means != nullptr) row_scale(sums.means + i * sums.d, sums.d, factor);
      sums.shift[i] = shift;
    }
    sums.sum[i] += row_exp_in_place(s, cols, shift);
  });
}

template <typename T>
void finish(int64_t rows, const QueueSums<T>& sums) {
  for (int64_t i = 0; i < rows; ++i) {
    if (sums.means != nullptr && sums.sum[i] != 0) row_scale(sums.means + i * sums.d, sums.d, 1 / sums.sum[i]);
    sums.shift[i] += std::log(sums.sum[i]);
  }
}

}  // namespace

void queue_softmax_tile(float* logits, int64_t rows, int64_t cols, const QueueSums<float>& sums, int threads) {
  tile(logits, rows, cols, sums, threads);
}
void queue_softmax_tile(double* logits, int64_t rows, int64_t cols, const QueueSums<double>& sums, int threads) {
  tile(logits, rows, cols, sums, threads);
}
void queue_softmax_finish(int64_t rows, const QueueSums<float>& sums) { finish(rows, sums); }
void queue_softmax_finish(int64_t rows, const QueueSums<double>& sums) { finish(rows, sums); }

}  // namespace sslfast::cpu
