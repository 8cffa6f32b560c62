// The optional tensors that say which entries of rows (N) with columns (M) are of one label, and what their gradient is
// less by.
#pragma once

#include <optional>

#include "sslfast/label_shares.h"
#include "tensor.h"

namespace sslfast::ops {

struct Labels {
  const std::optional<Tensor>&rows, &columns, &weights;

  void check(int64_t n, int64_t m, ScalarType dtype) const {
    const auto is_vector = [](const std::optional<Tensor>& t, int64_t size, ScalarType type) {
      return !t ||
             (t->is_cpu() && t->scalar_type() == type && t->dim() == 1 && t->is_contiguous() && t->size(0) == size);
    };
    ops::check(rows.has_value() == columns.has_value() && rows.has_value() == weights.has_value() &&
                   is_vector(rows, n, ScalarType::Int) && is_vector(columns, m, ScalarType::Int),
               "sslfast: labels must be int32, one a row and a column, and go with label_weights");
    ops::check(is_vector(weights, n, dtype), "sslfast: label_weights must be (N,) of the dtype of the sums");
  }

  // symmetric: rows and columns are the same, and the weights of both count.
  template <typename T>
  LabelShares<T> shares(bool symmetric) const {
    if (!rows) return {};
    const T* numbers = weights->const_data_ptr<T>();
    return {rows->const_data_ptr<int32_t>(), columns->const_data_ptr<int32_t>(), numbers,
            symmetric ? numbers : nullptr};
  }
};

}  // namespace sslfast::ops
