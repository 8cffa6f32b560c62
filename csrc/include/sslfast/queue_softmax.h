// Softmax of rows (N, D) over their similarities with a queue (K, D) that takes no gradient: the epilogue of a tile of
// logits S = scale * rows queue^T, entries left out being -inf. Weights exp(S - shift) stay in the tile, for the
// product with the queue.
#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// What the tiles of some rows have added up so far: sum_k exp(S_ik) = exp(shift_i) * sum_i, and, where means is not
// null, means_i = sum_k exp(S_ik - shift_i) queue_k.
template <typename T>
struct QueueSums {
  T* shift;  // (rows), -inf at first
  T* sum;    // (rows)
  T* means;  // (rows, d) or null
  int64_t d;
};

namespace cpu {

// Turns rows x cols contiguous logits into exp(S - shift) with the new running maximum as shift, adds them to the sums
// and brings the means to that shift; the caller adds the product of the weights with the queue to the means.
void queue_softmax_tile(float* logits, int64_t rows, int64_t cols, const QueueSums<float>& sums, int threads);
void queue_softmax_tile(double* logits, int64_t rows, int64_t cols, const QueueSums<double>& sums, int threads);

// Ends with shift_i the log-sum-exp, and means_i divided by the sum.
void queue_softmax_finish(int64_t rows, const QueueSums<float>& sums);
void queue_softmax_finish(int64_t rows, const QueueSums<double>& sums);

}  // namespace cpu
}  // namespace sslfast
