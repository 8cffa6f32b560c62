// Softmax or sigmoid losses of N pairs in batches that are small, with all gradients, in one call on the CPU: rows and
// columns are normalised or widened, one product makes all logits, csrc/cpu turns them into losses and then into
// weights, two more products take those back to both sides, and through the norms. FLOPs: 2 N^2 D, and 2 N^2 D for each
// side that needs a gradient. Memory: the N^2 logits and both sides beside inputs and outputs. There is no GPU
// implementation: there a batch waits for its launches, and those of the operators in tiles are as few.
#include "sslfast/few_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "sslfast/cross_softmax.h"
#include "sslfast/sigmoid_pairs.h"
#include "tile_products.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kTwoWays = 1, kSigmoid = 2;  // kinds; 0: a softmax of every row

// scale and bias are what a tensor of T would hold. As members they are: g++ 12 at -O3 loses a conversion of both to
// float and back to double.
template <typename T>
struct Request {
  T scale, bias;
  int64_t kind;
  double share;
  bool normalize, need_rows, need_columns, need_scale, need_bias;

  bool need_products() const { return need_rows || (need_scale && kind != kSigmoid); }
};

// Vectors of n numbers, and scratch for the tile.
template <typename T>
struct Vectors {
  T *row_norm, *col_norm, *row_shift, *row_lse, *col_shift, *col_lse, *row_shares, *col_shares, *positive, *weights,
      *scratch;

  static int64_t size(int64_t n) { return 10 * n + cpu::cross_scratch(n, n); }
  Vectors(T* x, int64_t n)
      : row_norm(x),
        col_norm(x + n),
        row_shift(x + 2 * n),
        row_lse(x + 3 * n),
        col_shift(x + 4 * n),
        col_lse(x + 5 * n),
        row_shares(x + 6 * n),
        col_shares(x + 7 * n),
        positive(x + 8 * n),
        weights(x + 9 * n),
        scratch(x + 10 * n) {}
};

// Turns products with the scale into weights, all of them times share but that of positives, and returns the sum of the
// losses.
template <typename Products, typename T>
double softmax(const Products& products, const CrossTile<T>& tile, const Vectors<T>& v, const Request<T>& r,
               bool need_weights, int threads) {
  const int64_t n = tile.rows;
  const bool two_way = r.kind == kTwoWays,
             bounded = r.normalize && std::fabs(static_cast<double>(r.scale)) <= kLogitBound;
  const T start = bounded ? T(0) : -std::numeric_limits<T>::infinity();
  products.logits({0, n, 0, n}, tile.logits, r.scale, r.scale);
  products.pair_logits(tile.excluded.positives, r.scale, v.positive);
  for (T* shift : {v.row_shift, v.col_shift}) std::fill_n(shift, n, start);
  for (T* sum : {v.row_lse, v.col_lse, v.weights}) std::fill_n(sum, n, T(0));
  cpu::cross_forward_tile(tile,
                          CrossSums<T>{v.row_shift, v.row_lse, two_way ? v.col_shift : nullptr,
                                       two_way ? v.col_lse : nullptr, v.scratch, bounded},
                          threads);
  const auto losses = [&](const T* shift, T* lse, T* shares) {
    for (int64_t i = 0; i < n; ++i) lse[i] = shift[i] + std::log(lse[i]);
    return cpu::pair_losses(PairLosses<T>{lse, v.positive, n, static_cast<T>(r.share), shares, v.weights});
  };
  double loss = losses(v.row_shift, v.row_lse, v.row_shares);
  if (two_way) loss += losses(v.col_shift, v.col_lse, v.col_shares);
  if (need_weights) {
    const CrossGrads<T> grads{
        v.row_lse, v.row_shares, two_way ? v.col_lse : nullptr, two_way ? v.col_shares : nullptr, v.scratch, {}};
    cpu::cross_backward_tile(tile, grads, threads);
  }
  return loss;
}

template <typename T>
__attribute__((noinline)) Results run(const Tensor& rows, const Tensor& columns, const Request<T>& r) {
  const int64_t n = rows.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int team = team_of(n * n, threads);
  const bool sigmoid = r.kind == kSigmoid, need_weights = r.need_products() || r.need_columns;
  Tensor memory = empty({n * n + Vectors<T>::size(n)}, kType<T>, rows);
  T* tile = memory.mutable_data_ptr<T>();
  const Vectors<T> v(tile + n * n, n);
  const Tensor q = wide_side(rows, r.normalize ? v.row_norm : nullptr, threads);
  const Tensor k = wide_side(columns, r.normalize ? v.col_norm : nullptr, threads);
  std::vector<Tensor> grads;
  const auto gradient = [&](bool needed) {
    if (!needed) return static_cast<T*>(nullptr);
    grads.push_back(empty({n, d}, kType<T>, rows));
    return grads.back().mutable_data_ptr<T>();
  };
  T *dq = gradient(r.need_products()), *dk = gradient(r.need_columns);
  std::vector<int64_t> positives(n);
  std::iota(positives.begin(), positives.end(), int64_t{0});
  const Excluded<T> excluded{positives.data(), nullptr, nullptr, nullptr};
  const TilePlace all{0, n, 0, n};
  const std::optional<Tensor> none;
  PairSums sums{};
  with_products(Sides{q, k, none, none}, n, n, [&](auto& products) {
    if constexpr (std::is_same_v<typename std::decay_t<decltype(products)>::Number, T>) {
      double to_rows = r.scale, to_columns = r.scale;
      if (sigmoid) {
        std::vector<double> row_sums(3 * n);
        products.logits(all, tile, 1, r.scale);
        cpu::sigmoid_pairs_tile(PairTile<T>{tile, n, n, 0, 0, excluded, v.weights, r.scale, r.bias, row_sums.data()},
                                sums, team);
        // Infinite logits of the right signs would count as perfect pairs.
        sums.loss += 0 * static_cast<double>(r.scale) + 0 * static_cast<double>(r.bias);
        to_rows = to_columns = static_cast<double>(r.scale) * r.share;
      } else {
        sums.loss = softmax(products, CrossTile<T>{tile, n, n, 0, 0, excluded}, v, r, need_weights, team);
        if (r.need_scale) to_rows = 1;
      }
      products.weigh(all, tile, r.need_products(), r.need_columns);
      if (r.need_products()) {
        products.to_rows(all, tile, dq, to_rows, false);
        products.add_pairs(positives.data(), v.weights, to_rows, dq, nullptr);
        if (!sigmoid && r.need_scale) {
          // d loss / d scale = sum_ij G_ij <q_i, k_j>, where the product with the columns has been taken.
          sums.scale = cpu::sum_and_scale(dq, q.const_data_ptr<T>(), n, d, r.scale) / r.share;
        }
      }
      if (r.need_columns) {
        products.to_columns(all, tile, dk, to_columns, false);
        products.add_pairs(positives.data(), v.weights, to_columns, nullptr, dk);
      }
    }
  });
  if (r.normalize) {
    if (r.need_rows) cpu::unit_rows_backward(UnitRowsBackward<T, T>{dq, q.const_data_ptr<T>(), v.row_norm, n, d}, team);
    if (r.need_columns) {
      cpu::unit_rows_backward(UnitRowsBackward<T, T>{dk, k.const_data_ptr<T>(), v.col_norm, n, d}, team);
    }
  }
  Results results{scalar<T>(r.share * sums.loss, rows)};
  results.insert(results.end(), grads.begin() + (r.need_products() && !r.need_rows), grads.end());
  if (r.need_scale) results.push_back(scalar<T>(r.share * sums.scale, rows));
  if (r.need_bias) results.push_back(scalar<T>(r.share * sums.bias, rows));
  return results;
}

Results few_pairs(const Tensor& rows, const Tensor& columns, const std::optional<Tensor>& scale,
                  const std::optional<Tensor>& bias, double known_scale, double known_bias, int64_t kind, double share,
                  bool normalize, bool need_rows, bool need_columns, bool need_scale, bool need_bias) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->size(0) > 0 && t->size(1) > 0 && t->size(0) == rows.size(0) &&
              t->size(1) == rows.size(1),
          "few_pairs: rows and columns must be matrices of one shape, with a row and a column at least");
  }
  check(rows.size(0) <= 1 << 15, "few_pairs: at most 2^15 rows are a small batch");
  check(kind >= 0 && kind <= kSigmoid, "few_pairs: kind must be 0, 1 or 2");
  check(share > 0, "few_pairs: share must be positive");
  const bool wide = rows.scalar_type() == ScalarType::Double || columns.scalar_type() == ScalarType::Double;
  const double s = number(scale, known_scale), b = number(bias, known_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    return run<T>(rows, columns,
                  Request<T>{static_cast<T>(s), static_cast<T>(b), kind, share, normalize, need_rows, need_columns,
                             need_scale, need_bias});
  };
  return wide ? run_as(double{}) : run_as(float{});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("few_pairs", TORCH_BOX(&few_pairs)); }

}  // namespace sslfast::ops
