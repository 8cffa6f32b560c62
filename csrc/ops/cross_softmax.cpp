// The tile loop of rows against columns on the CPU: a product makes a tile of logits, csrc/cpu turns it into sums of
// rows and of columns at once, or into gradient weights that serve both sides. The GPU implementation is
// kernels/cross_softmax.py. FLOPs for N rows and M columns: forward 2 N M D, backward 2 N M D and 2 N M D for each side
// that needs a gradient. Memory: one tile and a few vectors beside inputs and outputs. Where the caller can spare some,
// forward keeps as many of the first tiles of logits as fit, and backward does not make them again.
// They are kept in the type of the sums, or, of bf16 sides, packed into 16 bits.
#include "sslfast/cross_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "cross_tiles.h"
#include "kept_tiles.h"
#include "labels.h"

namespace sslfast::ops {
namespace {

template <typename Products>
std::tuple<Tensor, Tensor, Tensor, Tensor> forward(Products& products, const Tensor& rows, const Tensor& columns,
                                                   const Exclusions& exclusions, const Tensor& scale,
                                                   double max_similarity, bool two_way, int64_t keep, bool packed) {
  using T = typename Products::Number;
  const int64_t n = rows.size(0), m = columns.size(0), m_sums = two_way ? m : 0;
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const double s = first_of<T>(scale);
  const bool bounded = std::fabs(s) * max_similarity <= kLogitBound;
  const int64_t tile_rows = std::min(kCrossRows, n), tile_cols = std::min(kCrossCols, m);
  Tensor row_lse = empty({n}, kType<T>, rows), col_lse = empty({m_sums}, kType<T>, rows);
  Tensor row_shift = empty({n}, kType<T>, rows), col_shift = empty({m_sums}, kType<T>, rows);
  Tensor positive_logits = empty({n}, kType<T>, rows);
  Tensor kept = empty_kept<T>(keep, packed, rows);
  Tensor tile = empty({packed || keep < n * m ? tile_rows * tile_cols : 0}, kType<T>, rows);
  Tensor scratch = empty({cpu::cross_scratch(tile_rows, tile_cols)}, kType<T>, rows);
  const CrossSums<T> sums{row_shift.mutable_data_ptr<T>(),
                          row_lse.mutable_data_ptr<T>(),
                          two_way ? col_shift.mutable_data_ptr<T>() : nullptr,
                          two_way ? col_lse.mutable_data_ptr<T>() : nullptr,
                          scratch.mutable_data_ptr<T>(),
                          bounded};
  const T start = bounded ? T(0) : -std::numeric_limits<T>::infinity();
  std::fill_n(sums.row_shift, n, start);
  std::fill_n(sums.row_sum, n, T(0));
  std::fill_n(sums.col_shift, m_sums, start);
  std::fill_n(sums.col_sum, m_sums, T(0));
  const Excluded<T> excluded = exclusions.pointers<T>();
  products.pair_logits(excluded.positives, s, positive_logits.mutable_data_ptr<T>());
  KeptTiles<T> tiles(kept, threads);
  for_each_cross_tile(n, m, [&](const TilePlace& t) {
    T* logits = tiles.room(t.rows * t.cols, tile.mutable_data_ptr<T>());
    products.logits(t, logits, s, s);
    cpu::cross_forward_tile({logits, t.rows, t.cols, t.row0, t.col0, excluded}, sums, threads);
    tiles.keep(logits, t.rows * t.cols);
  });
  for (int64_t i = 0; i < n; ++i) sums.row_sum[i] = sums.row_shift[i] + std::log(sums.row_sum[i]);
  for (int64_t j = 0; j < m_sums; ++j) sums.col_sum[j] = sums.col_shift[j] + std::log(sums.col_sum[j]);
  return {row_lse, col_lse, positive_logits, kept};
}

template <typename Products>
std::tuple<Tensor, Tensor> backward(Products& products, const Tensor& rows, const Tensor& columns,
                                    const Exclusions& exclusions, const Tensor& row_lse, const Tensor& col_lse,
                                    const Tensor& grad_row, const Tensor& grad_col, const Tensor& grad_positive,
                                    const Tensor& scale, const Tensor& kept, bool need_rows, bool need_columns,
                                    const Labels& labels) {
  using T = typename Products::Number;
  const int64_t n = rows.size(0), m = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_rows = std::min(kCrossRows, n), tile_cols = std::min(kCrossCols, m);
  Tensor d_rows = empty_in_large_pages<T>({need_rows ? n : 0, d}, rows),
         d_cols = empty_in_large_pages<T>({need_columns ? m : 0, d}, rows);
  Tensor tile = empty({tile_rows * tile_cols}, kType<T>, rows);
  Tensor scratch = empty({cpu::cross_scratch(tile_rows, tile_cols)}, kType<T>, rows);
  const bool two_way = col_lse.size(0) > 0;
  const CrossGrads<T> grads{row_lse.const_data_ptr<T>(),
                            grad_row.const_data_ptr<T>(),
                            two_way ? col_lse.const_data_ptr<T>() : nullptr,
                            two_way ? grad_col.const_data_ptr<T>() : nullptr,
                            scratch.mutable_data_ptr<T>(),
                            labels.shares<T>(false)};
  const Excluded<T> excluded = exclusions.pointers<T>();
  T *dq = d_rows.mutable_data_ptr<T>(), *dk = d_cols.mutable_data_ptr<T>(), *logits = tile.mutable_data_ptr<T>();
  // In a tile that is kept these are left out already, by what its logits were before they were packed.
  const Excluded<T> positives_alone{excluded.positives};
  KeptTiles<T> tiles(kept, threads);
  for_each_cross_tile(n, m, [&](const TilePlace& t) {
    const bool is_kept = tiles.bring_back(t.rows * t.cols, logits);
    if (!is_kept) products.logits(t, logits, first_of<T>(scale), first_of<T>(scale));
    cpu::cross_backward_tile({logits, t.rows, t.cols, t.row0, t.col0, is_kept ? positives_alone : excluded}, grads,
                             threads);
    products.weigh(t, logits, need_rows, need_columns, grads.shares.at(t.row0, t.col0));
    // The first product of a slab overwrites it: nothing to clear beforehand.
    if (need_rows) products.to_rows(t, logits, dq, 1, t.col0 > 0);
    if (need_columns) products.to_columns(t, logits, dk, 1, t.row0 > 0);
  });
  products.add_pairs(exclusions.positives->const_data_ptr<int64_t>(), grad_positive.const_data_ptr<T>(), 1,
                     need_rows ? dq : nullptr, need_columns ? dk : nullptr);
  return {d_rows, d_cols};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> cross_softmax_forward(
    const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale,
    const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids, const std::optional<Tensor>& row_limits,
    double max_similarity, bool two_way, int64_t keep, const std::optional<Tensor>& row_factors,
    const std::optional<Tensor>& col_factors, bool packed) {
  const std::optional<Tensor> own(positives);
  const Exclusions exclusions{own, row_ids, col_ids, row_limits};
  const Sides sides{rows, columns, row_factors, col_factors};
  check_cross(sides, exclusions, scale);
  check(!two_way || !row_limits, "cross_softmax: row_limits go with one way");
  check_keep(keep, packed, rows, columns);
  return with_products(sides, 0, 0, [&](auto& products) {
    return forward(products, rows, columns, exclusions, scale, max_similarity, two_way, keep, packed);
  });
}

std::tuple<Tensor, Tensor> cross_softmax_backward(
    const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& row_lse, const Tensor& col_lse,
    const Tensor& grad_row, const Tensor& grad_col, const Tensor& grad_positive, const Tensor& scale,
    const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids, const std::optional<Tensor>& row_limits,
    const Tensor& kept, bool need_rows, bool need_columns, const std::optional<Tensor>& row_factors,
    const std::optional<Tensor>& col_factors, const std::optional<Tensor>& row_labels,
    const std::optional<Tensor>& col_labels, const std::optional<Tensor>& label_weights) {
  const std::optional<Tensor> own(positives);
  const Exclusions exclusions{own, row_ids, col_ids, row_limits};
  const Sides sides{rows, columns, row_factors, col_factors};
  const Labels labels{row_labels, col_labels, label_weights};
  check_cross(sides, exclusions, scale);
  labels.check(rows.size(0), columns.size(0), sum_type(rows.scalar_type()));
  check(!row_labels || (!row_ids && !row_limits), "cross_softmax: labels go without row_ids and row_limits");
  for (const Tensor* t : {&row_lse, &grad_row, &grad_positive}) check_cross_vector(*t, rows.size(0), rows);
  check(col_lse.size(0) == 0 || col_lse.size(0) == columns.size(0), "cross_softmax: col_lse must be empty or (M,)");
  for (const Tensor* t : {&col_lse, &grad_col}) check_cross_vector(*t, col_lse.size(0), rows);
  check_kept(kept, rows, row_labels.has_value());
  const auto run = [&](auto& products) {
    return backward(products, rows, columns, exclusions, row_lse, col_lse, grad_row, grad_col, grad_positive, scale,
                    kept, need_rows, need_columns, labels);
  };
  return with_products(sides, std::min(kCrossRows, rows.size(0)), std::min(kCrossCols, columns.size(0)), run,
                       row_labels.has_value());
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("cross_softmax_forward", TORCH_BOX(&cross_softmax_forward));
  m.impl("cross_softmax_backward", TORCH_BOX(&cross_softmax_backward));
}

}  // namespace sslfast::ops
