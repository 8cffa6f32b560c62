// Softmax or sigmoid losses of N pairs in batches that are small, with all gradients, in one call on the CPU (softmax
// losses one by one in two, as what multiplies each is known in backward): N rows and M columns are normalised or
// widened, one product makes all logits, csrc/cpu turns them into losses and then into weights, two more products take
// those back to both sides, and through the norms. Label smoothing takes sums over both sides, unless some are left
// out. FLOPs: 2 N M D, and 2 N M D for each side that needs a gradient. Memory: the N M logits, with a margin the
// N^2 of the other direction, and both sides beside inputs and outputs. There is no GPU implementation: there a batch
// waits for its launches, and those of the operators in tiles are as few.
#include "sslfast/few_pairs.h"

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <vector>

#include "few_pairs_softmax.h"
#include "sslfast/sigmoid_pairs.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

// Turns inner products into derivatives of the losses in the logits, and adds up the losses and what the numbers get.
template <typename Products, typename T>
void sigmoid(const Products& products, const CrossTile<T>& tile, const PairVectors<T>& v, const PairRequest<T>& r,
             int threads, PairSums& sums) {
  const int64_t n = tile.rows, m = tile.cols;
  std::vector<double> row_sums(3 * n);
  products.logits({0, n, 0, m}, tile.logits, 1, r.scale);
  if (r.options.margin) {
    products.pair_logits(tile.excluded.positives, 1, v.positive);
    for (int64_t i = 0; i < n; ++i) v.limits[i] += v.positive[i];
  }
  const T spread = static_cast<T>(r.options.smoothing / 2);
  cpu::sigmoid_pairs_tile(
      PairTile<T>{tile.logits, n, m, 0, 0, tile.excluded, v.weights, r.scale, r.bias, row_sums.data(), spread}, sums,
      threads);
  // Infinite logits of the right signs would count as perfect pairs.
  sums.loss += 0 * static_cast<double>(r.scale) + 0 * static_cast<double>(r.bias);
}

// Label smoothing adds to the loss of a row e (S_ip - mean_j S_ij), and to that of a column as much over its rows. The
// first term of both: returns its sum, and adds its share to the weights of positives.
template <typename T>
double smooth_positives(const PairVectors<T>& v, const PairRequest<T>& r, int64_t n) {
  const double times = r.two_way() ? 2 * r.options.smoothing : r.options.smoothing;
  const T* factors = r.factors();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double own = factors != nullptr ? times * static_cast<double>(factors[i]) : times;
    sum += own * static_cast<double>(v.positive[i]);
    v.weights[i] += static_cast<T>(own * r.share);
  }
  return sum;
}

// The second term: returns its sum, and adds its gradients, times factors of rows and columns, where these are needed.
template <typename T>
double smooth_means(const Tensor& q, const Tensor& k, const PairRequest<T>& r, double to_rows, double to_columns, T* dq,
                    T* dk) {
  const int64_t n = q.size(0), m = k.size(0);
  const T *rows = q.const_data_ptr<T>(), *columns = k.const_data_ptr<T>(), *factors = r.factors();
  const bool alike = r.two_way() && factors == nullptr;  // both ways add up the same pairs
  const double each = -r.options.smoothing * (alike ? 2 : 1) / static_cast<double>(m);
  double sum = each * cpu::add_all_pairs(AllPairs<T>{rows, columns, factors, n, m, q.size(1)}, each * r.share * to_rows,
                                         each * r.share * to_columns, dq, dk);
  if (r.two_way() && !alike) {
    sum += each * cpu::add_all_pairs(AllPairs<T>{columns, rows, factors, m, n, q.size(1)}, each * r.share * to_columns,
                                     each * r.share * to_rows, dk, dq);
  }
  return static_cast<double>(r.scale) * sum;
}

template <typename T>
__attribute__((noinline)) Results run(const Tensor& rows, const Tensor& columns, const PairRequest<T>& r) {
  const int64_t n = rows.size(0), m = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int team = team_of(n * m, threads);
  const bool pairwise = r.kind == kSigmoid, need_weights = r.need_products() || r.need_columns;
  const bool apart = r.options.apart(r.kind, n, m), counted = r.options.smooths_counted(r.kind, n, m);
  const bool smooths = !pairwise && r.options.smoothing > 0 && !counted && m > 1;  // a single candidate is its own mean
  Tensor memory = empty({n * m + PairVectors<T>::size(n, m, apart)}, kType<T>, rows);
  T* tile = memory.mutable_data_ptr<T>();
  const Tensor losses = r.each ? empty({n}, kType<T>, rows) : Tensor();
  const PairVectors<T> v(tile + n * m, n, m, apart, r.each ? losses.mutable_data_ptr<T>() : nullptr);
  const Tensor q = wide_side(rows, r.normalize ? v.row_norm : nullptr, threads);
  const Tensor k = wide_side(columns, r.normalize ? v.col_norm : nullptr, threads);
  std::vector<Tensor> grads;
  const auto gradient = [&](bool needed, int64_t size) {
    if (!needed) return static_cast<T*>(nullptr);
    grads.push_back(empty({size, d}, kType<T>, rows));
    return grads.back().mutable_data_ptr<T>();
  };
  T *dq = gradient(r.need_products(), n), *dk = gradient(r.need_columns, m);
  const auto numbers = [](const std::optional<Tensor>& t) { return t ? t->const_data_ptr<int64_t>() : nullptr; };
  std::vector<int64_t> in_order;
  const int64_t* positives = r.options.columns_of_positives(n, in_order);
  const Excluded<T> excluded{positives, numbers(r.options.row_ids), numbers(r.options.col_ids),
                             r.options.margin ? v.limits : nullptr};
  if (r.options.margin) {
    const std::vector<T> above = allowances<T>(q, k, positives, r.normalize, *r.options.margin);
    std::copy(above.begin(), above.end(), v.limits);
  }
  const TilePlace all{0, n, 0, m};
  const std::optional<Tensor> none;
  PairSums sums{};
  with_products(Sides{q, k, none, none}, n, m, [&](auto& products) {
    if constexpr (std::is_same_v<typename std::decay_t<decltype(products)>::Number, T>) {
      double to_rows = r.scale, to_columns = r.scale;
      if (pairwise) {
        sigmoid(products, CrossTile<T>{tile, n, m, 0, 0, excluded}, v, r, team, sums);
        to_rows = to_columns = static_cast<double>(r.scale) * r.share;
      } else {
        few_pairs_softmax(products, CrossTile<T>{tile, n, m, 0, 0, excluded}, v, r, need_weights, team, sums);
        if (smooths) sums.loss += smooth_positives(v, r, n);
        if (r.need_scale) to_rows = 1;
      }
      products.weigh(all, tile, r.need_products(), r.need_columns);
      if (r.need_products()) {
        products.to_rows(all, tile, dq, to_rows, false);
        products.add_pairs(positives, v.weights, to_rows, dq, nullptr);
      }
      if (r.need_columns) {
        products.to_columns(all, tile, dk, to_columns, false);
        products.add_pairs(positives, v.weights, to_columns, nullptr, dk);
      }
      if (smooths) sums.loss += smooth_means(q, k, r, to_rows, to_columns, dq, dk);
      if (!pairwise && r.need_scale) {
        // d loss / d scale = sum_ij G_ij <q_i, k_j>, where the product with the columns has been taken.
        sums.scale += cpu::sum_and_scale(dq, q.const_data_ptr<T>(), n, d, r.scale) / r.share;
      }
    }
  });
  if (r.normalize) {
    if (r.need_rows) cpu::unit_rows_backward(UnitRowsBackward<T, T>{dq, q.const_data_ptr<T>(), v.row_norm, n, d}, team);
    if (r.need_columns) {
      cpu::unit_rows_backward(UnitRowsBackward<T, T>{dk, k.const_data_ptr<T>(), v.col_norm, m, d}, team);
    }
  }
  Results results{r.each ? losses : scalar<T>(r.share * sums.loss, rows)};
  results.insert(results.end(), grads.begin() + (r.need_products() && !r.need_rows), grads.end());
  if (r.need_scale) results.push_back(scalar<T>(r.share * sums.scale, rows));
  if (r.need_bias) results.push_back(scalar<T>(r.share * sums.bias, rows));
  return results;
}

Results few_pairs(const Tensor& rows, const Tensor& columns, const std::optional<Tensor>& scale,
                  const std::optional<Tensor>& bias, double known_scale, double known_bias, int64_t kind, double share,
                  bool normalize, bool need_rows, bool need_columns, bool need_scale, bool need_bias, double smoothing,
                  std::optional<double> margin, double tau_plus, const std::optional<Tensor>& factors,
                  const std::optional<Tensor>& positives, const std::optional<Tensor>& row_ids,
                  const std::optional<Tensor>& col_ids, bool each) {
  for (const Tensor* t : {&rows, &columns}) {
    check(t->is_cpu() && t->dim() == 2 && t->size(0) > 0 && t->size(1) > 0 && t->size(1) == rows.size(1),
          "few_pairs: rows and columns must be matrices of one width, with a row and a column at least");
    check(t->size(0) <= 1 << 15, "few_pairs: at most 2^15 rows are a small batch");
  }
  check(kind >= 0 && kind <= kSigmoid, "few_pairs: kind must be 0, 1 or 2");
  check(!(share < 0), "few_pairs: share must not be negative");  // NaN of factors goes on into the loss
  const bool wide = rows.scalar_type() == ScalarType::Double || columns.scalar_type() == ScalarType::Double;
  const PairOptions options{smoothing, margin, tau_plus, factors, positives, row_ids, col_ids};
  check(!each || (kind != kSigmoid && smoothing == 0), "few_pairs: each loss is of a softmax, without smoothing");
  options.check(rows, columns, wide ? ScalarType::Double : ScalarType::Float, kind);
  const double s = number(scale, known_scale), b = number(bias, known_bias);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    return run<T>(rows, columns,
                  PairRequest<T>{static_cast<T>(s), static_cast<T>(b), kind, share, normalize, need_rows, need_columns,
                                 need_scale, need_bias, each, options});
  };
  return wide ? run_as(double{}) : run_as(float{});
}

// The gradients alone, empty where they are not needed. Several at once, as of a Jacobian, torch takes through
// operators that give tensors, not through those that give lists.
std::tuple<Tensor, Tensor, Tensor> few_pairs_backward(
    const Tensor& rows, const Tensor& columns, const std::optional<Tensor>& scale, double known_scale, int64_t kind,
    double share, bool normalize, bool need_rows, bool need_columns, bool need_scale, std::optional<double> margin,
    double tau_plus, const std::optional<Tensor>& factors, const std::optional<Tensor>& positives,
    const std::optional<Tensor>& row_ids, const std::optional<Tensor>& col_ids) {
  const Results made =
      few_pairs(rows, columns, scale, std::nullopt, known_scale, 0, kind, share, normalize, need_rows, need_columns,
                need_scale, false, 0, margin, tau_plus, factors, positives, row_ids, col_ids, false);
  auto next = made.begin() + 1;
  const auto gradient = [&](bool needed) { return needed ? *next++ : empty({0}, rows.scalar_type(), rows); };
  Tensor d_rows = gradient(need_rows), d_columns = gradient(need_columns), d_scale = gradient(need_scale);
  return {d_rows, d_columns, d_scale};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("few_pairs", TORCH_BOX(&few_pairs));
  m.impl("few_pairs_backward", TORCH_BOX(&few_pairs_backward));
}

}  // namespace sslfast::ops
