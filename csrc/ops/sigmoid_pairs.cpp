// Sigmoid losses of all pairs of rows (N, D) with columns (M, D), summed and times `share`, and all gradients of that
// in the same pass: a product makes a tile of inner products, csrc/cpu turns it into sums and into weights, two more
// products take those back to both sides. FLOPs: 2 N M D, and 2 N M D for each side that needs a gradient; memory: one
// tile beside inputs and outputs. The GPU implementation is kernels/sigmoid_pairs.py.
#include "sslfast/sigmoid_pairs.h"

#include <algorithm>
#include <tuple>

#include "exclusions.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

// A float tile is 512 KiB and stays in L2. It is higher than wide: the more rows, the fewer times the columns and their
// sums, which do not stay, are read.
constexpr int64_t kRows = 512, kCols = 256;

// Loss; gradients of rows and of columns, of 0 rows where not needed; gradients of scale and of bias.
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Products>
Results run(Products& products, const Tensor& rows, const Tensor& columns, const Exclusions& exclusions,
            const Tensor& scale, const Tensor& bias, double share, bool need_rows, bool need_columns,
            double smoothing) {
  using T = typename Products::Number;
  const int64_t n = rows.size(0), m = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_rows = std::min(kRows, n), tile_cols = std::min(kCols, m);
  const T factor = *scale.const_data_ptr<T>(), offset = *bias.const_data_ptr<T>();
  const double back = share * static_cast<double>(factor);
  const auto excluded = exclusions.pointers<T>();
  Tensor d_rows = empty_in_large_pages<T>({need_rows ? n : 0, d}, rows),
         d_cols = empty_in_large_pages<T>({need_columns ? m : 0, d}, rows);
  Tensor row_sums = empty({3 * tile_rows}, ScalarType::Double, rows);
  Tensor tile = empty({tile_rows * tile_cols}, kType<T>, rows);
  Tensor positive_weights = empty({n}, kType<T>, rows);
  T *dx = d_rows.mutable_data_ptr<T>(), *dy = d_cols.mutable_data_ptr<T>(), *weights = tile.mutable_data_ptr<T>();
  PairSums sums{};
  for (int64_t row0 = 0; row0 < n; row0 += kRows) {
    for (int64_t col0 = 0; col0 < m; col0 += kCols) {
      const TilePlace t{row0, std::min(kRows, n - row0), col0, std::min(kCols, m - col0)};
      products.logits(t, weights, 1, static_cast<double>(factor));
      cpu::sigmoid_pairs_tile({weights, t.rows, t.cols, row0, col0, excluded, positive_weights.mutable_data_ptr<T>(),
                               factor, offset, row_sums.mutable_data_ptr<double>(), static_cast<T>(smoothing / 2)},
                              sums, threads);
      products.weigh(t, weights, need_rows, need_columns);
      // The first product of a slab overwrites it: nothing to clear beforehand.
      if (need_rows) products.to_rows(t, weights, dx, back, col0 > 0);
      if (need_columns) products.to_columns(t, weights, dy, back, row0 > 0);
    }
  }
  products.add_pairs(excluded.positives, positive_weights.const_data_ptr<T>(), back, need_rows ? dx : nullptr,
                     need_columns ? dy : nullptr);
  const auto number = [&](double sum) {
    Tensor result = empty({}, kType<T>, rows);
    *result.mutable_data_ptr<T>() = static_cast<T>(share * sum);
    return result;
  };
  // Infinite logits of the right signs would count as perfect pairs.
  const double poison = 0 * static_cast<double>(factor) + 0 * static_cast<double>(offset);
  return {number(sums.loss + poison), d_rows, d_cols, number(sums.scale), number(sums.bias)};
}

Results sigmoid_pairs(const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale,
                      const Tensor& bias, double share, bool need_rows, bool need_columns,
                      const std::optional<Tensor>& row_factors, const std::optional<Tensor>& col_factors,
                      const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids,
                      const std::optional<Tensor>& row_limits, double smoothing) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "sigmoid_pairs: rows and columns must be matrices with a row at least, contiguous");
  }
  const Sides sides{rows, columns, row_factors, col_factors};
  sides.check();
  check(columns.scalar_type() == rows.scalar_type() && columns.size(1) == rows.size(1),
        "sigmoid_pairs: columns must have the dtype and the width of rows");
  for (const Tensor* t : {&scale, &bias}) {
    check(t->is_cpu() && t->numel() == 1 && t->scalar_type() == sum_type(rows.scalar_type()),
          "sigmoid_pairs: scale and bias must be one number each, float64 for float64 rows, else float32");
  }
  const std::optional<Tensor> own(positives);
  const Exclusions exclusions{own, row_ids, col_ids, row_limits};
  exclusions.check(rows.size(0), columns.size(0), sum_type(rows.scalar_type()));
  check(smoothing >= 0 && smoothing <= 1, "sigmoid_pairs: smoothing must be in [0, 1]");
  const bool needs = need_rows || need_columns;
  return with_products(sides, needs ? std::min(kRows, rows.size(0)) : 0, needs ? std::min(kCols, columns.size(0)) : 0,
                       [&](auto& products) {
                         return run(products, rows, columns, exclusions, scale, bias, share, need_rows, need_columns,
                                    smoothing);
                       });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("sigmoid_pairs", TORCH_BOX(&sigmoid_pairs)); }

}  // namespace sslfast::ops
