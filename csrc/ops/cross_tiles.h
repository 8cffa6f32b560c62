// The tiles of rows (N, D) against columns (M, D), and what their operators take.
#pragma once

#include <algorithm>

#include "exclusions.h"
#include "tile_products.h"

namespace sslfast::ops {

// A float tile is 512 KiB and stays in L2. It is higher than wide: the more rows, the fewer times the columns and their
// sums, which do not stay, are read.
constexpr int64_t kCrossRows = 512, kCrossCols = 256;

// Calls visit(tile) for every tile.
template <typename Visit>
void for_each_cross_tile(int64_t n, int64_t m, Visit visit) {
  for (int64_t row0 = 0; row0 < n; row0 += kCrossRows) {
    const int64_t rows = std::min(kCrossRows, n - row0);
    for (int64_t col0 = 0; col0 < m; col0 += kCrossCols) {
      visit(TilePlace{row0, rows, col0, std::min(kCrossCols, m - col0)});
    }
  }
}

template <typename T>
double first_of(const Tensor& scalar) {
  return static_cast<double>(*scalar.const_data_ptr<T>());
}

inline void check_cross(const Sides& sides, const Exclusions& exclusions, const Tensor& scale) {
  const auto& [rows, columns, row_factors, col_factors] = sides;
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "sslfast: rows and columns must be matrices with a row at least, contiguous");
  }
  sides.check();
  check(columns.scalar_type() == rows.scalar_type() && columns.size(1) == rows.size(1),
        "sslfast: columns must have the dtype and the width of rows");
  check(scale.is_cpu() && scale.numel() == 1 && scale.scalar_type() == sum_type(rows.scalar_type()),
        "sslfast: scale must be one number, float64 for float64 rows, else float32");
  exclusions.check(rows.size(0), columns.size(0), sum_type(rows.scalar_type()));
}

// Sums and gradients of a side, one number a row or column.
inline void check_cross_vector(const Tensor& t, int64_t size, const Tensor& rows) {
  check(t.is_cpu() && t.scalar_type() == sum_type(rows.scalar_type()) && t.dim() == 1 && t.is_contiguous() &&
            t.size(0) == size,
        "sslfast: log-sum-exps and gradients must be vectors, one number a row or column, float64 for float64 rows, "
        "else float32");
}

}  // namespace sslfast::ops
