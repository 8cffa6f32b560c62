// The optional tensors that say which entries of rows (N) with columns (M) are left out of the sums.
#pragma once

#include <optional>

#include "sslfast/excluded.h"
#include "tensor.h"

namespace sslfast::ops {

struct Exclusions {
  const std::optional<Tensor>&positives, &row_ids, &col_ids, &row_limits;

  void check(int64_t n, int64_t m, ScalarType dtype) const {
    const auto is_vector = [](const std::optional<Tensor>& t, int64_t size, ScalarType type) {
      return !t ||
             (t->is_cpu() && t->scalar_type() == type && t->dim() == 1 && t->is_contiguous() && t->size(0) == size);
    };
    ops::check(is_vector(positives, n, ScalarType::Long), "sslfast: positives must be int64 of shape (N,)");
    ops::check(row_ids.has_value() == col_ids.has_value() && is_vector(row_ids, n, ScalarType::Long) &&
                   is_vector(col_ids, m, ScalarType::Long),
               "sslfast: row_ids and col_ids must be int64 of shapes (N,) and (M,), or both None");
    ops::check(is_vector(row_limits, n, dtype), "sslfast: row_limits must be (N,) of the dtype of the sums");
    for (int64_t i = 0; positives && i < n; ++i) {
      const int64_t j = positives->const_data_ptr<int64_t>()[i];
      ops::check(j >= -1 && j < m, "sslfast: positives must index a column or be -1");
    }
  }

  template <typename T>
  Excluded<T> pointers() const {
    const auto integers = [](const std::optional<Tensor>& t) { return t ? t->const_data_ptr<int64_t>() : nullptr; };
    return {integers(positives), integers(row_ids), integers(col_ids),
            row_limits ? row_limits->const_data_ptr<T>() : nullptr};
  }
};

}  // namespace sslfast::ops
