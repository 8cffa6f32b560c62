#include "sslfast/excluded.h"

#include "logit_rows.h"
#include "logit_tile.h"

namespace sslfast::cpu {
namespace {

template <typename T>
void exclude_entries(T* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0, const Excluded<T>& excluded,
                     T mark, int threads) {
  for (int64_t i = 0; i < rows && excluded.positives != nullptr; ++i) {
    const int64_t j = excluded.positives[row0 + i] - col0;
    if (j >= 0 && j < cols) logits[i * cols + j] = mark;
  }
  if (excluded.row_ids == nullptr && excluded.row_limits == nullptr) return;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 1)
  for (int64_t i = 0; i < rows; ++i) {
    T* s = logits + i * cols;
    if (excluded.row_ids != nullptr) row_exclude_id(s, cols, excluded.col_ids + col0, excluded.row_ids[row0 + i], mark);
    if (excluded.row_limits != nullptr) row_exclude_above(s, cols, excluded.row_limits[row0 + i]);
  }
}

}  // namespace

#define SSLFAST_DEFINE(T)                                                                                            \
  void exclude(T* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0, const Excluded<T>& excluded,       \
               int threads) {                                                                                        \
    exclude_entries(logits, rows, cols, row0, col0, excluded, -kInf<T>, threads);                                    \
  }                                                                                                                  \
  void exclude_above(T* logits, int64_t rows, int64_t cols, int64_t row0, int64_t col0, const Excluded<T>& excluded, \
                     int threads) {                                                                                  \
    exclude_entries(logits, rows, cols, row0, col0, excluded, kInf<T>, threads);                                     \
  }
SSLFAST_DEFINE(float)
SSLFAST_DEFINE(double)
#undef SSLFAST_DEFINE

}  // namespace sslfast::cpu
