// Entries of a matrix of logits of rows (N) with columns (M) that are left out of its sums.
#pragma once

#include <cstdint>

namespace sslfast {

template <typename T>
struct Excluded {
  const int64_t* positives = nullptr;  // (N): the column that is the row's positive, -1 where it has none
  const int64_t *row_ids = nullptr, *col_ids = nullptr;  // (N), (M): entries of equal ids are left out; or both null
  const T* row_limits = nullptr;                         // (N): logits above it are left out; or null
};

namespace cpu {

// Sets what is left out of rows x cols contiguous logits at (row0, col0) to -inf. A NaN is above no limit.
void exclude(float* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0, const Excluded<float>& excluded,
             int threads);
void exclude(double* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0, const Excluded<double>& excluded,
             int threads);

// The same to +inf, which is above every limit that comes later, where a logit of -inf counts.
void exclude_above(float* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0,
                   const Excluded<float>& excluded, int threads);
void exclude_above(double* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0,
                   const Excluded<double>& excluded, int threads);

}  // namespace cpu
}  // namespace sslfast
