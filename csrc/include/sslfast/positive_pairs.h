// The logits of the positives (i, p(i)), and their share in the gradients of rows (N, D) and columns (M, D). Few
// weights are larger, and the gradient of a row along its positive nearly cancels late in training: they are left out
// of the tiles, whose weights may be rounded, and added in full precision. A small loss depends on the positives'
// logits alone, so these are not read off the tiles either.
#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// E is the type of rows and columns, uint16_t for bf16, T that of logits, weights and sums.
template <typename E, typename T>
struct PositivePairs {
  const E *rows, *columns;
  const float *row_factors, *col_factors;  // (N), (M): what to multiply rows and columns by; null for 1
  const int64_t* positives;                // (N), p(i), or -1 where a row has none
  const T* weights;                        // (N), for add_pairs
  int64_t n, d;
};

namespace cpu {

// logits_i = factor <row i, column p(i)>, -inf where a row has no positive. The products are summed in double.
void pair_logits(const PositivePairs<float, float>& pairs, double factor, float* logits, int threads);
void pair_logits(const PositivePairs<uint16_t, float>& pairs, double factor, float* logits, int threads);
void pair_logits(const PositivePairs<float, double>& pairs, double factor, double* logits, int threads);
void pair_logits(const PositivePairs<double, double>& pairs, double factor, double* logits, int threads);

// row_sums_i += factor * weight_i * column p(i), and col_sums_p(i) += factor * weight_i * row i. Either may be null,
// and both may be the same. The sums are taken in an order that does not depend on the number of threads.
void add_pairs(const PositivePairs<float, float>& pairs, double factor, float* row_sums, float* col_sums, int threads);
void add_pairs(const PositivePairs<uint16_t, float>& pairs, double factor, float* row_sums, float* col_sums,
               int threads);
void add_pairs(const PositivePairs<double, double>& pairs, double factor, double* row_sums, double* col_sums,
               int threads);

}  // namespace cpu
}  // namespace sslfast
