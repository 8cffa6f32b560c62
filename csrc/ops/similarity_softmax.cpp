// The tile loop of the CPU implementation: torch's matrix product makes a tile of logits, csrc/cpu turns it into sums
// or into gradient weights, and the product takes those back to rows. The GPU implementation is
// kernels/similarity_softmax.py. FLOPs for M rows, with half the tiles: forward M^2 D, backward M^2 D + 2 M^2 D
// (1 multiply-add = 2 FLOPs gives 2 and 6). Memory: one tile and a few vectors beside inputs and outputs.
#include "sslfast/similarity_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "matrix.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kRows = 256, kCols = 1024;  // a float tile is 1 MiB and stays in L2

// Calls visit(row0, rows, col0, cols) for every tile on and above the diagonal.
template <typename Visit>
void for_each_tile(int64_t size, Visit visit) {
  for (int64_t row0 = 0; row0 < size; row0 += kRows) {
    const int64_t rows = std::min(kRows, size - row0);
    visit(row0, rows, row0, rows);
    for (int64_t col0 = row0 + rows; col0 < size; col0 += kCols) {
      visit(row0, rows, col0, std::min(kCols, size - col0));
    }
  }
}

template <typename T>
std::tuple<Tensor, Tensor> forward(const Tensor& rows, const Tensor& positives, double scale, double max_norm) {
  const int64_t m = rows.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_cols = std::min(std::max(kRows, kCols), std::max(m, int64_t{1}));
  Tensor lse = empty({m}, kType<T>, rows), positive_logits = empty({m}, kType<T>, rows);
  Tensor shifts = empty({m}, kType<T>, rows);
  Tensor tile = empty({kRows * tile_cols}, kType<T>, rows);
  Tensor scratch = empty({cpu::similarity_scratch(kRows, tile_cols)}, kType<T>, rows);
  SimilaritySums<T> sums{shifts.mutable_data_ptr<T>(), lse.mutable_data_ptr<T>(), positive_logits.mutable_data_ptr<T>(),
                         scratch.mutable_data_ptr<T>(), std::fabs(scale) * max_norm * max_norm <= kLogitBound};
  std::fill_n(sums.shift, m, sums.bounded ? T(0) : -std::numeric_limits<T>::infinity());
  std::fill_n(sums.sum, m, T(0));
  std::fill_n(sums.positive_logits, m, -std::numeric_limits<T>::infinity());
  const T* x = rows.const_data_ptr<T>();
  T* logits = tile.mutable_data_ptr<T>();
  for_each_tile(m, [&](int64_t row0, int64_t r, int64_t col0, int64_t c) {
    product(matrix(logits, r, c, c, 1), slab(x, row0, r, d), slab_transposed(x, col0, c, d), 0, scale);
    cpu::similarity_forward_tile({logits, r, c, row0, col0, positives.const_data_ptr<int64_t>()}, sums, threads);
  });
  for (int64_t i = 0; i < m; ++i) sums.sum[i] = sums.shift[i] + std::log(sums.sum[i]);
  return {lse, positive_logits};
}

template <typename T>
Tensor backward(const Tensor& rows, const Tensor& positives, const Tensor& lse, const Tensor& grad_lse,
                const Tensor& grad_positive, double scale) {
  const int64_t m = rows.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_cols = std::min(std::max(kRows, kCols), std::max(m, int64_t{1}));
  Tensor grad = empty({m, d}, kType<T>, rows);
  Tensor tile = empty({kRows * tile_cols}, kType<T>, rows);
  Tensor scratch = empty({cpu::similarity_scratch(kRows, tile_cols)}, kType<T>, rows);
  const SimilarityGrads<T> grads{lse.const_data_ptr<T>(), grad_lse.const_data_ptr<T>(),
                                 grad_positive.const_data_ptr<T>(), scratch.mutable_data_ptr<T>()};
  const T* x = rows.const_data_ptr<T>();
  T* dx = grad.mutable_data_ptr<T>();
  T* logits = tile.mutable_data_ptr<T>();
  std::fill_n(dx, m * d, T(0));
  for_each_tile(m, [&](int64_t row0, int64_t r, int64_t col0, int64_t c) {
    const Tensor weights = matrix(logits, r, c, c, 1), x_rows = slab(x, row0, r, d);
    product(weights, x_rows, slab_transposed(x, col0, c, d), 0, scale);
    cpu::similarity_backward_tile({logits, r, c, row0, col0, positives.const_data_ptr<int64_t>()}, grads, threads);
    product(slab(dx, row0, r, d), weights, slab(x, col0, c, d), 1, scale);
    if (row0 != col0) {
      product(slab(dx, col0, c, d), matrix(logits, c, r, 1, c), x_rows, 1, scale);
    }
  });
  return grad;
}

void check_rows(const Tensor& rows, const Tensor& positives) {
  check(rows.is_cpu() && rows.dim() == 2 && rows.is_contiguous(),
        "similarity_softmax: rows must be (M, D), contiguous");
  check(rows.scalar_type() == ScalarType::Float || rows.scalar_type() == ScalarType::Double,
        "similarity_softmax: rows must be float32 or float64");
  check(positives.scalar_type() == ScalarType::Long && positives.dim() == 1 && positives.is_contiguous() &&
            positives.size(0) == rows.size(0),
        "similarity_softmax: positives must be int64 of shape (M,)");
  const auto* index = positives.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    check(index[i] >= -1 && index[i] < rows.size(0) && index[i] != i,
          "similarity_softmax: positives must index another row or be -1");
  }
}

std::tuple<Tensor, Tensor> similarity_softmax_forward(const Tensor& rows, const Tensor& positives, double scale,
                                                      double max_norm) {
  check_rows(rows, positives);
  return (rows.scalar_type() == ScalarType::Double ? forward<double> : forward<float>)(rows, positives, scale,
                                                                                       max_norm);
}

Tensor similarity_softmax_backward(const Tensor& rows, const Tensor& positives, const Tensor& lse,
                                   const Tensor& grad_lse, const Tensor& grad_positive, double scale, double) {
  check_rows(rows, positives);
  for (const Tensor* vector : {&lse, &grad_lse, &grad_positive}) {
    check(vector->scalar_type() == rows.scalar_type() && vector->dim() == 1 && vector->is_contiguous() &&
              vector->size(0) == rows.size(0),
          "similarity_softmax: lse and gradients must have shape (M,) and the dtype of rows");
  }
  return (rows.scalar_type() == ScalarType::Double ? backward<double> : backward<float>)(rows, positives, lse, grad_lse,
                                                                                         grad_positive, scale);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("similarity_softmax_forward", TORCH_BOX(&similarity_softmax_forward));
  m.impl("similarity_softmax_backward", TORCH_BOX(&similarity_softmax_backward));
}

}  // namespace sslfast::ops
