// What the gradient of a matrix of logits has at the entries whose row and column are of one label: a share that is
// near the softmax's there, so that it has to be taken off before weights are multiplied, or rounded.
#pragma once

#include <cstdint>

namespace sslfast {

template <typename T>
struct LabelShares {
  const int32_t *row_labels = nullptr, *col_labels = nullptr;  // (N), (M); or both null
  const T *rows = nullptr, *cols = nullptr;  // (N), (M): dL/dS_ij of one label is less by rows_i + cols_j; cols or null

  LabelShares at(int64_t row0, int64_t col0) const {
    if (row_labels == nullptr) return {};
    return {row_labels + row0, col_labels + col0, rows + row0, cols != nullptr ? cols + col0 : nullptr};
  }
};

}  // namespace sslfast
