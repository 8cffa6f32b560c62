// One-way softmax of rows (N, D) against columns (M, D) on the CPU, loss and gradients in one pass: products make the
// logits of a strip of rows with all columns, csrc/cpu turns each tile of them into exponentials while it is in L2 and,
// once the sums of the strip are known, into weights that two more products take back to both sides. FLOPs: 2 N M D,
// and 2 N M D for each side that needs a gradient; one exponential a logit. Memory: a strip, of the size of the sides
// or 2 MiB, beside inputs and outputs. The GPU implementation is kernels/one_way_softmax.py.
#include "sslfast/one_way_softmax.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "exclusions.h"
#include "labels.h"
#include "sslfast/queue_softmax.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

// A float tile is 512 KiB and stays in L2. It is higher than wide: the more rows, the fewer times the columns and their
// sums, which do not stay, are read.
constexpr int64_t kRows = 512, kCols = 256;
constexpr int64_t kHeld = 1 << 19;  // numbers of a strip, or two for every number of the sides,
template <typename T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();
constexpr int64_t kLeast = 16;  // or as many rows: with fewer the products are slow

// Losses (N,), log-sum-exps over all negatives (N,), shares (N,), gradients of rows and of columns.
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Inputs {
  const Tensor &rows, &columns, &scale;
  const std::optional<Tensor>&known_lse, &known_positive, &weights;
  bool need_rows, need_columns;

  bool need() const { return need_rows || need_columns; }
  int64_t strip_rows() const {
    const int64_t n = rows.size(0), m = columns.size(0);
    const int64_t held = std::max(kHeld, 2 * (n + m) * rows.size(1));
    return std::min({kRows, n, need() ? std::max(held / m, kLeast) : n});
  }
  int64_t tile_cols() const { return std::min(kCols, columns.size(0)); }
};

template <typename Products>
Results run(Products& products, const Inputs& in, const Exclusions& exclusions, const Labels& labels) {
  using T = typename Products::Number;
  const int64_t n = in.rows.size(0), m = in.columns.size(0), d = in.rows.size(1);
  const int64_t height = in.strip_rows(), width = in.tile_cols(), tiles = (m + width - 1) / width;
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const auto factor = static_cast<double>(*in.scale.const_data_ptr<T>());
  Tensor losses = empty({n}, kType<T>, in.rows), lse = empty({n}, kType<T>, in.rows);
  Tensor shares = empty({n}, kType<T>, in.rows), positive = empty({n}, kType<T>, in.rows);
  Tensor d_rows = empty_in_large_pages<T>({in.need_rows ? n : 0, d}, in.rows);
  Tensor d_cols = empty_in_large_pages<T>({in.need_columns ? m : 0, d}, in.rows);
  Tensor strip = empty({height * (in.need() ? m : width)}, kType<T>, in.rows);
  Tensor shifts = empty({tiles, height}, kType<T>, in.rows), sums = empty({2, height}, kType<T>, in.rows);
  T *shift = sums.mutable_data_ptr<T>(), *sum = shift + height;
  T *positives = positive.mutable_data_ptr<T>(), *share = shares.mutable_data_ptr<T>();
  T *dq = d_rows.mutable_data_ptr<T>(), *dk = d_cols.mutable_data_ptr<T>();
  const Excluded<T> excluded = exclusions.pointers<T>();
  const LabelShares<T> label_shares = labels.shares<T>(false);
  const auto numbers = [](const std::optional<Tensor>& t) { return t ? t->const_data_ptr<T>() : nullptr; };
  const T *known = numbers(in.known_positive), *known_lse = numbers(in.known_lse), *weights = numbers(in.weights);
  if (known != nullptr) {
    std::copy_n(known, n, positives);
  } else {
    products.pair_logits(excluded.positives, factor, positives);
  }

  for (int64_t row0 = 0; row0 < n; row0 += height) {
    const int64_t r = std::min(height, n - row0);
    // Calls visit(tile, its numbers, the shifts of its rows).
    const auto for_each_tile = [&](auto visit) {
      for (int64_t col0 = 0; col0 < m; col0 += width) {
        visit(TilePlace{row0, r, col0, std::min(width, m - col0)},
              strip.mutable_data_ptr<T>() + (in.need() ? r * col0 : 0),
              shifts.mutable_data_ptr<T>() + col0 / width * height);
      }
    };
    std::fill_n(shift, r, -kInfinity<T>);
    std::fill_n(sum, r, T(0));
    for_each_tile([&](const TilePlace& t, T* tile, T* tile_shift) {
      products.logits(t, tile, factor, factor);
      cpu::exclude(tile, t.rows, t.cols, t.row0, t.col0, excluded, threads);
      cpu::queue_softmax_tile(tile, t.rows, t.cols, QueueSums<T>{shift, sum, nullptr, d}, threads);
      std::copy_n(shift, r, tile_shift);
    });
    T* row_lse = lse.mutable_data_ptr<T>() + row0;
    const auto from_here = [&](const T* numbers) { return numbers != nullptr ? numbers + row0 : nullptr; };
    cpu::one_way_rows(OneWayRows<T>{shift, sum, positives + row0, from_here(known_lse), from_here(weights),
                                    losses.mutable_data_ptr<T>() + row0, row_lse, share + row0},
                      r);
    // An infinite feature may make nothing infinite but its own pair's logit, which would count as a perfect pair. A
    // row without a positive has -inf.
    for (int64_t i = row0; i < row0 + r; ++i) {
      const bool none = known != nullptr ? known[i] == -kInfinity<T> : excluded.positives[i] < 0;
      if (!none) losses.mutable_data_ptr<T>()[i] += 0 * positives[i];
    }
    if (!in.need()) continue;
    for_each_tile([&](const TilePlace& t, T* tile, const T* tile_shift) {
      const OneWayWeights<T> tile_weights{
          tile_shift, row_lse, share + row0, label_shares.at(row0, t.col0), excluded.positives + row0, t.col0};
      cpu::one_way_weights(tile, t.rows, t.cols, tile_weights, threads);
      products.weigh(t, tile, in.need_rows, in.need_columns, tile_weights.labels);
      // The first product of a slab overwrites it: nothing to clear beforehand.
      if (in.need_rows) products.to_rows(t, tile, dq, 1, t.col0 > 0);
      if (in.need_columns) products.to_columns(t, tile, dk, 1, row0 > 0);
    });
  }
  if (known == nullptr && in.need()) {
    products.add_pairs(excluded.positives, share, -1, in.need_rows ? dq : nullptr, in.need_columns ? dk : nullptr);
  }
  return {losses, lse, shares, d_rows, d_cols};
}

Results one_way_softmax(const Tensor& rows, const Tensor& columns, const Tensor& positives, const Tensor& scale,
                        const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids,
                        const std::optional<Tensor>& row_limits, const std::optional<Tensor>& known_lse,
                        const std::optional<Tensor>& known_positive, const std::optional<Tensor>& weights,
                        bool need_rows, bool need_columns, const std::optional<Tensor>& row_factors,
                        const std::optional<Tensor>& col_factors, const std::optional<Tensor>& row_labels,
                        const std::optional<Tensor>& col_labels, const std::optional<Tensor>& label_weights) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "one_way_softmax: rows and columns must be matrices with a row at least, contiguous");
  }
  const Sides sides{rows, columns, row_factors, col_factors};
  sides.check();
  const ScalarType type = sum_type(rows.scalar_type());
  check(columns.scalar_type() == rows.scalar_type() && columns.size(1) == rows.size(1),
        "one_way_softmax: columns must have the dtype and the width of rows");
  check(scale.is_cpu() && scale.numel() == 1 && scale.scalar_type() == type,
        "one_way_softmax: scale must be one number, float64 for float64 rows, else float32");
  const std::optional<Tensor> own(positives);
  for (const std::optional<Tensor>* t : {&known_lse, &known_positive, &weights}) {
    check(!*t || ((*t)->is_cpu() && (*t)->scalar_type() == type && (*t)->dim() == 1 && (*t)->is_contiguous() &&
                  (*t)->size(0) == rows.size(0)),
          "one_way_softmax: weights and what is known must be (N,), float64 for float64 rows, else float32");
  }
  const Exclusions exclusions{own, row_ids, col_ids, row_limits};
  exclusions.check(rows.size(0), columns.size(0), type);
  const Labels labels{row_labels, col_labels, label_weights};
  labels.check(rows.size(0), columns.size(0), type);
  check(!row_labels || (!row_ids && !row_limits), "one_way_softmax: labels go without row_ids and row_limits");
  const Inputs in{rows, columns, scale, known_lse, known_positive, weights, need_rows, need_columns};
  return with_products(
      sides, in.need() ? in.strip_rows() : 0, in.need() ? in.tile_cols() : 0,
      [&](auto& products) { return run(products, in, exclusions, labels); }, row_labels.has_value());
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("one_way_softmax", TORCH_BOX(&one_way_softmax)); }

}  // namespace sslfast::ops
