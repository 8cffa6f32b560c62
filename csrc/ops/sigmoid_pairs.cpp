// Sigmoid losses of all pairs of rows (N, D) with columns (M, D), summed and times `share`, and all gradients of that
// in the same pass: torch's matrix product makes a tile of inner products, csrc/cpu turns it into sums and into
// weights, two more products take those back to both sides. FLOPs: 2 N M D, and 2 N M D for each side that needs a
// gradient; memory: one tile beside inputs and outputs. The GPU implementation is kernels/sigmoid_pairs.py.
#include "sslfast/sigmoid_pairs.h"

#include <algorithm>
#include <tuple>

#include "matrix.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kRows = 512, kCols = 512;  // a float tile is 1 MiB and stays in L2

// Loss; gradients of rows and of columns, of 0 rows where not needed; gradients of scale and of bias.
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename T>
Results run(const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale, const Tensor& bias,
            double share, bool need_rows, bool need_columns) {
  const int64_t n = rows.size(0), m = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_rows = std::min(kRows, n), tile_cols = std::min(kCols, m);
  const T factor = *scale.const_data_ptr<T>(), offset = *bias.const_data_ptr<T>();
  const double back = share * static_cast<double>(factor);
  Tensor d_rows = empty({need_rows ? n : 0, d}, kType<T>, rows),
         d_cols = empty({need_columns ? m : 0, d}, kType<T>, rows);
  Tensor row_sums = empty({3 * tile_rows}, ScalarType::Double, rows);
  Tensor tile = empty({tile_rows * tile_cols}, kType<T>, rows);
  const T *x = rows.const_data_ptr<T>(), *y = columns.const_data_ptr<T>();
  T *dx = d_rows.mutable_data_ptr<T>(), *dy = d_cols.mutable_data_ptr<T>(), *products = tile.mutable_data_ptr<T>();
  PairSums sums{};
  for (int64_t row0 = 0; row0 < n; row0 += kRows) {
    const int64_t r = std::min(kRows, n - row0);
    for (int64_t col0 = 0; col0 < m; col0 += kCols) {
      const int64_t c = std::min(kCols, m - col0);
      const Tensor weights = matrix(products, r, c, c, 1);
      product(weights, slab(x, row0, r, d), slab_transposed(y, col0, c, d), 0, 1);
      cpu::sigmoid_pairs_tile({products, r, c, row0, col0, positives.const_data_ptr<int64_t>(), factor, offset,
                               row_sums.mutable_data_ptr<double>()},
                              sums, threads);
      // The first product of a slab overwrites it: nothing to clear beforehand.
      if (need_rows) product(slab(dx, row0, r, d), weights, slab(y, col0, c, d), col0 > 0, back);
      if (need_columns) {
        product(slab(dy, col0, c, d), matrix(products, c, r, 1, c), slab(x, row0, r, d), row0 > 0, back);
      }
    }
  }
  const auto number = [&](double sum) {
    Tensor result = empty({}, kType<T>, rows);
    *result.mutable_data_ptr<T>() = static_cast<T>(share * sum);
    return result;
  };
  return {number(sums.loss), d_rows, d_cols, number(sums.scale), number(sums.bias)};
}

Results sigmoid_pairs(const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale,
                      const Tensor& bias, double share, bool need_rows, bool need_columns) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "sigmoid_pairs: rows and columns must be matrices with a row at least, contiguous");
  }
  check(rows.scalar_type() == ScalarType::Float || rows.scalar_type() == ScalarType::Double,
        "sigmoid_pairs: rows must be float32 or float64");
  check(columns.scalar_type() == rows.scalar_type() && columns.size(1) == rows.size(1),
        "sigmoid_pairs: columns must have the dtype and the width of rows");
  for (const Tensor* t : {&scale, &bias}) {
    check(t->is_cpu() && t->numel() == 1 && t->scalar_type() == rows.scalar_type(),
          "sigmoid_pairs: scale and bias must be one number each, of the dtype of rows");
  }
  check(positives.scalar_type() == ScalarType::Long && positives.dim() == 1 && positives.is_contiguous() &&
            positives.size(0) == rows.size(0),
        "sigmoid_pairs: positives must be int64 of shape (N,)");
  const auto* index = positives.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    check(index[i] >= -1 && index[i] < columns.size(0), "sigmoid_pairs: positives must index a column or be -1");
  }
  return (rows.scalar_type() == ScalarType::Double ? run<double> : run<float>)(rows, columns, positives, scale, bias,
                                                                               share, need_rows, need_columns);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("sigmoid_pairs", TORCH_BOX(&sigmoid_pairs)); }

}  // namespace sslfast::ops
