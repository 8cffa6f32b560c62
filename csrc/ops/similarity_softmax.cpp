// The tile loop of the CPU implementation: a product makes a tile of logits, csrc/cpu turns it into sums or into
// gradient weights, and the product takes those back to rows. The GPU implementation is kernels/similarity_softmax.py.
// FLOPs for M rows, with half the tiles: forward M^2 D, backward M^2 D + 2 M^2 D (1 multiply-add = 2 FLOPs gives 2 and
// 6). Memory: one tile and a few vectors beside inputs and outputs. Where the caller can spare some, forward keeps as
// many of the first tiles of logits as fit, and backward does not make them again.
// They are kept in the type of the sums, or, of bf16 rows, packed into 16 bits: not where labels come with the
// gradient, whose shares leave of large weights the small rest that packing would be off by.
#include "sslfast/similarity_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "kept_tiles.h"
#include "labels.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

// A float tile is 512 KiB and stays in L2. It is higher than wide: the more rows, the fewer times the columns and their
// sums, which do not stay, are read.
constexpr int64_t kRows = 512, kCols = 256;

// Calls visit(tile) for every tile on and above the diagonal. Those that touch the diagonal are squares: half of one on
// it is made in vain.
template <typename Visit>
void for_each_tile(int64_t size, Visit visit) {
  const auto tile = [&](int64_t row0, int64_t row_end, int64_t col0, int64_t col_end) {
    visit(TilePlace{row0, row_end - row0, col0, col_end - col0});
  };
  for (int64_t row0 = 0, end = 0; row0 < size; row0 = end) {
    end = std::min(row0 + kRows, size);
    for (int64_t row = row0; row < end; row += kCols) {
      for (int64_t col = row; col < end; col += kCols) {
        tile(row, std::min(row + kCols, end), col, std::min(col + kCols, end));
      }
    }
    for (int64_t col = end; col < size; col += kCols) tile(row0, end, col, std::min(col + kCols, size));
  }
}

// Which halves of the rows need a gradient: each the first view of N samples, or the second. Tiles that meet neither
// are not made; what the result has in rows of the other half is undefined.
struct Halves {
  bool first, second;
  int64_t middle;

  bool need(int64_t begin, int64_t size) const {
    return (first && begin < middle) || (second && begin + size > middle);
  }
};

int64_t tile_columns(int64_t size) { return std::min(kCols, std::max(size, int64_t{1})); }

template <typename Products>
std::tuple<Tensor, Tensor, Tensor> forward(Products& products, const Tensor& rows, const Tensor& positives,
                                           double scale, double max_norm, int64_t keep, bool packed) {
  using T = typename Products::Number;
  const int64_t m = rows.size(0);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_cols = tile_columns(m);
  Tensor lse = empty({m}, kType<T>, rows), positive_logits = empty({m}, kType<T>, rows);
  Tensor shifts = empty({m}, kType<T>, rows), kept = empty_kept<T>(keep, packed, rows);
  Tensor tile = empty({std::min(kRows, m) * tile_cols}, kType<T>, rows);
  Tensor scratch = empty({cpu::similarity_scratch(kRows, tile_cols)}, kType<T>, rows);
  SimilaritySums<T> sums{shifts.mutable_data_ptr<T>(), lse.mutable_data_ptr<T>(), positive_logits.mutable_data_ptr<T>(),
                         scratch.mutable_data_ptr<T>(), std::fabs(scale) * max_norm * max_norm <= kLogitBound};
  std::fill_n(sums.shift, m, sums.bounded ? T(0) : -std::numeric_limits<T>::infinity());
  std::fill_n(sums.sum, m, T(0));
  std::fill_n(sums.positive_logits, m, -std::numeric_limits<T>::infinity());
  KeptTiles<T> tiles(kept, threads);
  for_each_tile(m, [&](const TilePlace& t) {
    T* logits = tiles.room(t.rows * t.cols, tile.mutable_data_ptr<T>());
    products.logits(t, logits, scale, scale);
    cpu::similarity_forward_tile({logits, t.rows, t.cols, t.row0, t.col0, positives.const_data_ptr<int64_t>()}, sums,
                                 threads);
    tiles.keep(logits, t.rows * t.cols);
  });
  for (int64_t i = 0; i < m; ++i) sums.sum[i] = sums.shift[i] + std::log(sums.sum[i]);
  // Not before: a kept tile gets back what the product made of it, as backward makes one that is not kept.
  products.pair_logits(positives.const_data_ptr<int64_t>(), scale, sums.positive_logits);
  return {lse, positive_logits, kept};
}

template <typename Products>
Tensor backward(Products& products, const Tensor& rows, const Tensor& positives, const Tensor& lse,
                const Tensor& grad_lse, const Tensor& grad_positive, const Tensor& kept, double scale,
                const Labels& labels, const Halves& halves) {
  using T = typename Products::Number;
  const int64_t m = rows.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_cols = tile_columns(m);
  Tensor grad = empty_in_large_pages<T>({m, d}, rows);
  Tensor tile = empty({std::min(kRows, m) * tile_cols}, kType<T>, rows);
  Tensor scratch = empty({cpu::similarity_scratch(kRows, tile_cols)}, kType<T>, rows);
  const SimilarityGrads<T> grads{lse.const_data_ptr<T>(), grad_lse.const_data_ptr<T>(), scratch.mutable_data_ptr<T>(),
                                 labels.shares<T>(true)};
  T* dx = grad.mutable_data_ptr<T>();
  T* logits = tile.mutable_data_ptr<T>();
  std::fill_n(dx, m * d, T(0));
  KeptTiles<T> tiles(kept, threads);
  for_each_tile(m, [&](const TilePlace& t) {
    const bool for_rows = halves.need(t.row0, t.rows), for_columns = t.row0 != t.col0 && halves.need(t.col0, t.cols);
    if (!for_rows && !for_columns) return tiles.skip(t.rows * t.cols);
    if (!tiles.bring_back(t.rows * t.cols, logits)) products.logits(t, logits, scale, scale);
    cpu::similarity_backward_tile({logits, t.rows, t.cols, t.row0, t.col0, positives.const_data_ptr<int64_t>()}, grads,
                                  threads);
    products.weigh(t, logits, for_rows, for_columns, grads.shares.at(t.row0, t.col0));
    if (for_rows) products.to_rows(t, logits, dx, scale, true);
    if (for_columns) products.to_columns(t, logits, dx, scale, true);
  });
  products.add_pairs(positives.const_data_ptr<int64_t>(), grad_positive.const_data_ptr<T>(), scale, dx, dx);
  return grad;
}

void check_rows(const Tensor& rows, const Tensor& positives) {
  check(rows.is_cpu() && rows.dim() == 2 && rows.is_contiguous(),
        "similarity_softmax: rows must be (M, D), contiguous");
  check(positives.scalar_type() == ScalarType::Long && positives.dim() == 1 && positives.is_contiguous() &&
            positives.size(0) == rows.size(0),
        "similarity_softmax: positives must be int64 of shape (M,)");
  const auto* index = positives.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    check(index[i] >= -1 && index[i] < rows.size(0) && index[i] != i,
          "similarity_softmax: positives must index another row or be -1");
  }
}

std::tuple<Tensor, Tensor, Tensor> similarity_softmax_forward(const Tensor& rows, const Tensor& positives, double scale,
                                                              double max_norm, int64_t keep,
                                                              const std::optional<Tensor>& factors, bool packed) {
  const Sides sides{rows, rows, factors, factors};
  check_rows(rows, positives);
  sides.check();
  check_keep(keep, packed, rows, rows);
  return with_products(
      sides, 0, 0, [&](auto& products) { return forward(products, rows, positives, scale, max_norm, keep, packed); });
}

Tensor similarity_softmax_backward(const Tensor& rows, const Tensor& positives, const Tensor& lse,
                                   const Tensor& grad_lse, const Tensor& grad_positive, const Tensor& kept,
                                   double scale, double, const std::optional<Tensor>& factors,
                                   const std::optional<Tensor>& labels, const std::optional<Tensor>& label_weights,
                                   bool need_first, bool need_second) {
  const Sides sides{rows, rows, factors, factors};
  const Labels classes{labels, labels, label_weights};
  check_rows(rows, positives);
  sides.check();
  classes.check(rows.size(0), rows.size(0), sum_type(rows.scalar_type()));
  const auto vector_of = [&](const Tensor& t, int64_t size) {
    check(t.scalar_type() == sum_type(rows.scalar_type()) && t.dim() == 1 && t.is_contiguous() && t.size(0) == size,
          "similarity_softmax: lse and gradients must be vectors, float64 for float64 rows, else float32");
  };
  for (const Tensor* vector : {&lse, &grad_lse, &grad_positive}) vector_of(*vector, rows.size(0));
  check_kept(kept, rows, labels.has_value());
  const int64_t m = rows.size(0);
  const auto run = [&](auto& products) {
    return backward(products, rows, positives, lse, grad_lse, grad_positive, kept, scale, classes,
                    Halves{need_first, need_second, m / 2});
  };
  return with_products(sides, std::min(kRows, m), tile_columns(m), run, labels.has_value());
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("similarity_softmax_forward", TORCH_BOX(&similarity_softmax_forward));
  m.impl("similarity_softmax_backward", TORCH_BOX(&similarity_softmax_backward));
}

}  // namespace sslfast::ops
