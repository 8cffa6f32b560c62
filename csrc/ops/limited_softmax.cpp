// The tile loop of rows against columns whose limits leave out other logits of a row and of a column: a product makes a
// tile of logits, csrc/cpu turns it into both sides' sums, or into gradient weights that serve both. FLOPs and memory
// are those of cross_softmax. A GPU takes that, one way for each direction.
#include "sslfast/limited_softmax.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "cross_tiles.h"
#include "kept_tiles.h"

namespace sslfast::ops {
namespace {

// What is summed of a side, and the room for it.
template <typename T>
struct SideSums {
  Tensor lse, shift, total, count;

  SideSums(int64_t size, const Tensor& like)
      : lse(empty({size}, kType<T>, like)),
        shift(empty({size}, kType<T>, like)),
        total(empty({size}, kType<T>, like)),
        count(empty({size}, ScalarType::Long, like)) {
    std::fill_n(shift.mutable_data_ptr<T>(), size, -std::numeric_limits<T>::infinity());
    for (const Tensor* t : {&lse, &total}) std::fill_n(t->mutable_data_ptr<T>(), size, T(0));
    std::fill_n(count.mutable_data_ptr<int64_t>(), size, 0);
  }

  LimitedSums<T> pointers(const std::optional<Tensor>& limits) const {
    return {limits ? limits->const_data_ptr<T>() : nullptr, shift.mutable_data_ptr<T>(), lse.mutable_data_ptr<T>(),
            total.mutable_data_ptr<T>(), count.mutable_data_ptr<int64_t>()};
  }

  void finish() const {
    T* sum = lse.mutable_data_ptr<T>();
    for (int64_t i = 0; i < lse.numel(); ++i) sum[i] = shift.const_data_ptr<T>()[i] + std::log(sum[i]);
  }
};

struct Limits {
  std::optional<Tensor> rows;
  const std::optional<Tensor>& columns;  // or none, where the rows alone are wanted

  void check(const Sides& sides) const {
    check_cross_vector(*rows, sides.rows.size(0), sides.rows);
    if (columns) check_cross_vector(*columns, sides.columns.size(0), sides.rows);
  }
};

using Forward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Products>
Forward forward(Products& products, const Sides& sides, const Exclusions& exclusions, const Tensor& scale,
                const Limits& limits, int64_t keep) {
  using T = typename Products::Number;
  const Tensor& rows = sides.rows;
  const int64_t n = rows.size(0), m = sides.columns.size(0);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int64_t tile_rows = std::min(kCrossRows, n), tile_cols = std::min(kCrossCols, m);
  const double s = first_of<T>(scale);
  const SideSums<T> of_rows(n, rows), of_columns(limits.columns ? m : 0, rows);
  Tensor positive_logits = empty({n}, kType<T>, rows);
  Tensor kept = empty_kept<T>(keep, false, rows);
  Tensor tile = empty({keep < n * m ? tile_rows * tile_cols : 0}, kType<T>, rows);
  Tensor scratch = empty({cpu::limited_scratch(tile_rows, tile_cols)}, kType<T>, rows);
  const Excluded<T> excluded = exclusions.pointers<T>();
  products.pair_logits(excluded.positives, s, positive_logits.mutable_data_ptr<T>());
  KeptTiles<T> tiles(kept, threads);
  for_each_cross_tile(n, m, [&](const TilePlace& t) {
    T* logits = tiles.room(t.rows * t.cols, tile.mutable_data_ptr<T>());
    products.logits(t, logits, s, s);
    cpu::limited_forward_tile({logits, t.rows, t.cols, t.row0, t.col0, excluded}, of_rows.pointers(limits.rows),
                              of_columns.pointers(limits.columns), scratch.mutable_data_ptr<T>(), threads);
    tiles.keep(logits, t.rows * t.cols);
  });
  of_rows.finish();
  of_columns.finish();
  return {of_rows.lse,   of_columns.lse,   positive_logits, kept,
          of_rows.total, of_columns.total, of_rows.count,   of_columns.count};
}

// Of a side: its log-sum-exps, and the gradients of these and of its totals.
struct SideGrads {
  const Tensor &lse, &grad_lse, &grad_total;

  template <typename T>
  LimitedGrads<T> pointers(const std::optional<Tensor>& limits) const {
    return {limits ? limits->const_data_ptr<T>() : nullptr, lse.const_data_ptr<T>(), grad_lse.const_data_ptr<T>(),
            grad_total.const_data_ptr<T>()};
  }

  void check(int64_t size, const Tensor& rows) const {
    for (const Tensor* t : {&lse, &grad_lse, &grad_total}) check_cross_vector(*t, size, rows);
  }
};

template <typename Products>
std::tuple<Tensor, Tensor> backward(Products& products, const Sides& sides, const Exclusions& exclusions,
                                    const Tensor& scale, const Limits& limits, const SideGrads& row_grads,
                                    const SideGrads& col_grads, const Tensor& grad_positive, const Tensor& kept,
                                    bool need_rows, bool need_columns) {
  using T = typename Products::Number;
  const Tensor& rows = sides.rows;
  const int64_t n = rows.size(0), m = sides.columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor d_rows = empty_in_large_pages<T>({need_rows ? n : 0, d}, rows),
         d_cols = empty_in_large_pages<T>({need_columns ? m : 0, d}, rows);
  Tensor tile = empty({std::min(kCrossRows, n) * std::min(kCrossCols, m)}, kType<T>, rows);
  const LimitedGrads<T> of_rows = row_grads.pointers<T>(limits.rows),
                        of_columns = col_grads.pointers<T>(limits.columns);
  const Excluded<T> excluded = exclusions.pointers<T>();
  T *dq = d_rows.mutable_data_ptr<T>(), *dk = d_cols.mutable_data_ptr<T>(), *logits = tile.mutable_data_ptr<T>();
  const double s = first_of<T>(scale);
  KeptTiles<T> tiles(kept, threads);
  for_each_cross_tile(n, m, [&](const TilePlace& t) {
    if (!tiles.bring_back(t.rows * t.cols, logits)) products.logits(t, logits, s, s);
    cpu::limited_backward_tile({logits, t.rows, t.cols, t.row0, t.col0, excluded}, of_rows, of_columns, threads);
    products.weigh(t, logits, need_rows, need_columns);
    // The first product of a slab overwrites it: nothing to clear beforehand.
    if (need_rows) products.to_rows(t, logits, dq, 1, t.col0 > 0);
    if (need_columns) products.to_columns(t, logits, dk, 1, t.row0 > 0);
  });
  products.add_pairs(excluded.positives, grad_positive.const_data_ptr<T>(), 1, need_rows ? dq : nullptr,
                     need_columns ? dk : nullptr);
  return {d_rows, d_cols};
}

Forward limited_softmax_forward(const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale,
                                const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids,
                                const Tensor& row_limits, const std::optional<Tensor>& col_limits, int64_t keep,
                                const std::optional<Tensor>& row_factors, const std::optional<Tensor>& col_factors) {
  const std::optional<Tensor> own(positives), none;
  const Exclusions exclusions{own, row_ids, col_ids, none};
  const Sides sides{rows, columns, row_factors, col_factors};
  const Limits limits{row_limits, col_limits};
  check_cross(sides, exclusions, scale);
  limits.check(sides);
  check_keep(keep, false, rows, columns);
  return with_products(sides, 0, 0,
                       [&](auto& products) { return forward(products, sides, exclusions, scale, limits, keep); });
}

std::tuple<Tensor, Tensor> limited_softmax_backward(
    const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& row_lse, const Tensor& col_lse,
    const Tensor& grad_row_lse, const Tensor& grad_col_lse, const Tensor& grad_positive, const Tensor& grad_row_total,
    const Tensor& grad_col_total, const Tensor& scale, const std::optional<Tensor>& row_ids,
    const std::optional<Tensor>& col_ids, const Tensor& row_limits, const std::optional<Tensor>& col_limits,
    const Tensor& kept, bool need_rows, bool need_columns, const std::optional<Tensor>& row_factors,
    const std::optional<Tensor>& col_factors) {
  const std::optional<Tensor> own(positives), none;
  const Exclusions exclusions{own, row_ids, col_ids, none};
  const Sides sides{rows, columns, row_factors, col_factors};
  const Limits limits{row_limits, col_limits};
  const SideGrads of_rows{row_lse, grad_row_lse, grad_row_total}, of_columns{col_lse, grad_col_lse, grad_col_total};
  check_cross(sides, exclusions, scale);
  limits.check(sides);
  of_rows.check(rows.size(0), rows);
  of_columns.check(col_limits ? columns.size(0) : 0, rows);
  check_cross_vector(grad_positive, rows.size(0), rows);
  check_kept(kept, rows, true);
  return with_products(sides, std::min(kCrossRows, rows.size(0)), std::min(kCrossCols, columns.size(0)),
                       [&](auto& products) {
                         return backward(products, sides, exclusions, scale, limits, of_rows, of_columns, grad_positive,
                                         kept, need_rows, need_columns);
                       });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("limited_softmax_forward", TORCH_BOX(&limited_softmax_forward));
  m.impl("limited_softmax_backward", TORCH_BOX(&limited_softmax_backward));
}

}  // namespace sslfast::ops
