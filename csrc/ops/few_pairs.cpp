// Softmax or sigmoid losses of N pairs in batches that are small, with all gradients, in one call on the CPU (softmax
// losses one by one in two, as what multiplies each is known in backward): N rows and M columns are normalised or
// widened, one product makes all logits, csrc/cpu turns them into losses and then into weights, two more products take
// those back to both sides, and through the norms. Label smoothing takes sums over both sides, unless some are left
// out. FLOPs: 2 N M D, and 2 N M D for each side that needs a gradient. Memory: the N M logits and both sides beside
// inputs and outputs. There is no GPU implementation: there a batch waits for its launches, and those of the operators
// in tiles are as few.
#include "sslfast/few_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <type_traits>
#include <vector>

#include "few_pairs_options.h"
#include "sslfast/cross_softmax.h"
#include "sslfast/sigmoid_pairs.h"
#include "tile_products.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

// scale and bias are what a tensor of T would hold. As members they are: g++ 12 at -O3 loses a conversion of both to
// float and back to double.
template <typename T>
struct Request {
  T scale, bias;
  int64_t kind;
  double share;
  bool normalize, need_rows, need_columns, need_scale, need_bias, each;
  const PairOptions& options;

  bool two_way() const { return kind == kTwoWays; }
  bool need_products() const { return need_rows || (need_scale && kind != kSigmoid); }
  const T* factors() const { return options.factors ? options.factors->const_data_ptr<T>() : nullptr; }
};

// Vectors of a number for each of n rows or m columns, and scratch for the tile. limits are allowances above the
// similarities of positives, and then logits; across (n, n) is for the columns' logits where these are apart from the
// rows', or null; losses (n) are a result, or null.
template <typename T>
struct Vectors {
  T *row_norm, *row_shift, *row_lse, *row_shares, *positive, *weights, *limits, *debiased, *col_norm, *col_shift,
      *col_lse, *col_shares, *scratch, *across, *losses;

  static int64_t size(int64_t n, int64_t m, bool apart) {
    return 8 * n + 4 * m + cpu::cross_scratch(n, m) + (apart ? n * n : 0);
  }
  Vectors(T* x, int64_t n, int64_t m, bool apart, T* losses)
      : row_norm(x),
        row_shift(x + n),
        row_lse(x + 2 * n),
        row_shares(x + 3 * n),
        positive(x + 4 * n),
        weights(x + 5 * n),
        limits(x + 6 * n),
        debiased(x + 7 * n),
        col_norm(x + 8 * n),
        col_shift(col_norm + m),
        col_lse(col_norm + 2 * m),
        col_shares(col_norm + 3 * m),
        scratch(col_norm + 4 * m),
        across(apart ? scratch + cpu::cross_scratch(n, m) : nullptr),
        losses(losses) {}
};

// Losses of lse, each over `count` negatives, debiased first: adds the sum, and what the scale gets through the least
// sums, and writes the shares and adds to the weights of positives.
template <typename T>
void debiased_losses(const Vectors<T>& v, const Request<T>& r, int64_t n, int64_t count, const T* lse, T* shares,
                     PairSums& sums) {
  std::vector<double> slopes(n);
  const double scale = r.scale;
  cpu::debias_pairs(DebiasedPairs<T>{lse, v.positive, n, count, r.options.tau_plus, scale, v.debiased, slopes.data()});
  sums.loss += cpu::pair_losses(
      PairLosses<T>{v.debiased, v.positive, n, static_cast<T>(r.share), shares, v.weights, r.factors(), v.losses});
  for (int64_t i = 0; i < n; ++i) {
    const double share = shares[i];
    if (slopes[i] == 0) {
      sums.scale -= std::copysign(1.0, scale) * share / r.share;  // factors of gradients may be negative
    } else {
      v.weights[i] += static_cast<T>(share * (1 - slopes[i]));
    }
    shares[i] = static_cast<T>(share * slopes[i]);
  }
}

// Rows that pick their positives among the columns of a tile, and what is found of them.
template <typename T>
struct Way {
  CrossTile<T> tile;
  T *shift, *lse, *shares;
  std::vector<uint8_t> counts{};
  std::vector<T> spread_by{};

  // Label smoothing over what the tile has not left out: returns what it adds, and adds to the weights of positives.
  double smooth(const Vectors<T>& v, const Request<T>& r) {
    counts.resize(tile.rows * tile.cols);
    spread_by.resize(tile.rows);
    return cpu::smooth_counted(tile.logits, smoothing(v, r));
  }
  // The same, of the weights that the logits have been turned into.
  void spread(const Vectors<T>& v, const Request<T>& r) { cpu::spread_counted(smoothing(v, r), tile.logits); }

 private:
  CountedSmoothing<T> smoothing(const Vectors<T>& v, const Request<T>& r) {
    const double e = r.options.smoothing;
    return {v.positive, r.factors(), tile.rows, tile.cols, e, r.share, counts.data(), spread_by.data(), v.weights};
  }
};

// Turns products with the scale into weights, all of them times share but that of positives, and adds up the losses.
template <typename Products, typename T>
void softmax(const Products& products, const CrossTile<T>& tile, const Vectors<T>& v, const Request<T>& r,
             bool need_weights, int threads, PairSums& sums) {
  const int64_t n = tile.rows, m = tile.cols;
  const bool two_way = r.two_way(), bounded = r.normalize && std::fabs(static_cast<double>(r.scale)) <= kLogitBound;
  const T start = bounded ? T(0) : -std::numeric_limits<T>::infinity();
  products.logits({0, n, 0, m}, tile.logits, r.scale, r.scale);
  products.pair_logits(tile.excluded.positives, r.scale, v.positive);
  if (r.options.margin) {
    for (int64_t i = 0; i < n; ++i) v.limits[i] = v.positive[i] + r.scale * v.limits[i];
  }
  std::fill_n(v.row_shift, n, start);
  std::fill_n(v.col_shift, m, start);
  std::fill_n(v.row_lse, n, T(0));
  std::fill_n(v.col_lse, m, T(0));
  std::fill_n(v.weights, n, T(0));
  if (v.losses != nullptr) std::fill_n(v.losses, n, T(0));
  // Columns that leave out others of the rows than these of them take a tile of their own, as rows.
  const bool joint = two_way && v.across == nullptr;
  const Excluded<T>& out = tile.excluded;
  const Excluded<T> out_across{out.positives, out.col_ids, out.row_ids, out.row_limits};
  Way<T> ways[] = {{tile, v.row_shift, v.row_lse, v.row_shares},
                   {CrossTile<T>{v.across, n, n, 0, 0, out_across}, v.col_shift, v.col_lse, v.col_shares}};
  const int tiles = v.across != nullptr ? 2 : 1;
  if (tiles == 2) cpu::transpose(tile.logits, m, v.across, n, n, false);
  for (int i = 0; i < tiles; ++i) {
    const CrossSums<T> found{ways[i].shift, ways[i].lse, joint ? v.col_shift : nullptr, joint ? v.col_lse : nullptr,
                             v.scratch,     bounded};
    cpu::cross_forward_tile(ways[i].tile, found, threads);
  }
  const auto losses = [&](const T* shift, T* lse, T* shares, int64_t others) {
    for (int64_t i = 0; i < n; ++i) lse[i] = shift[i] + std::log(lse[i]);
    if (r.options.tau_plus > 0 && others > 0) return debiased_losses(v, r, n, others, lse, shares, sums);
    sums.loss += cpu::pair_losses(
        PairLosses<T>{lse, v.positive, n, static_cast<T>(r.share), shares, v.weights, r.factors(), v.losses});
  };
  losses(v.row_shift, v.row_lse, v.row_shares, m - 1);
  if (two_way) losses(v.col_shift, v.col_lse, v.col_shares, n - 1);
  const bool counted = r.options.smooths_counted(r.kind, n, m);
  for (int i = 0; i < tiles; ++i) {
    Way<T>& way = ways[i];
    if (counted) sums.loss += way.smooth(v, r);
    if (!need_weights) continue;
    const CrossGrads<T> grads{way.lse,   way.shares, joint ? v.col_lse : nullptr, joint ? v.col_shares : nullptr,
                              v.scratch, {}};
    cpu::cross_backward_tile(way.tile, grads, threads);
    if (counted) way.spread(v, r);
  }
  if (need_weights && tiles == 2) cpu::transpose(v.across, n, tile.logits, m, n, true);
}

// Turns inner products into derivatives of the losses in the logits, and adds up the losses and what the numbers get.
template <typename Products, typename T>
void sigmoid(const Products& products, const CrossTile<T>& tile, const Vectors<T>& v, const Request<T>& r, int threads,
             PairSums& sums) {
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
double smooth_positives(const Vectors<T>& v, const Request<T>& r, int64_t n) {
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
double smooth_means(const Tensor& q, const Tensor& k, const Request<T>& r, double to_rows, double to_columns, T* dq,
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
__attribute__((noinline)) Results run(const Tensor& rows, const Tensor& columns, const Request<T>& r) {
  const int64_t n = rows.size(0), m = columns.size(0), d = rows.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int team = team_of(n * m, threads);
  const bool pairwise = r.kind == kSigmoid, need_weights = r.need_products() || r.need_columns;
  const bool apart = r.options.apart(r.kind, n, m), counted = r.options.smooths_counted(r.kind, n, m);
  const bool smooths = !pairwise && r.options.smoothing > 0 && !counted && m > 1;  // a single candidate is its own mean
  Tensor memory = empty({n * m + Vectors<T>::size(n, m, apart)}, kType<T>, rows);
  T* tile = memory.mutable_data_ptr<T>();
  const Tensor losses = r.each ? empty({n}, kType<T>, rows) : Tensor();
  const Vectors<T> v(tile + n * m, n, m, apart, r.each ? losses.mutable_data_ptr<T>() : nullptr);
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
  const int64_t* positives = numbers(r.options.positives);
  if (positives == nullptr) {
    in_order.resize(n);
    std::iota(in_order.begin(), in_order.end(), int64_t{0});
    positives = in_order.data();
  }
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
        softmax(products, CrossTile<T>{tile, n, m, 0, 0, excluded}, v, r, need_weights, team, sums);
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
                  Request<T>{static_cast<T>(s), static_cast<T>(b), kind, share, normalize, need_rows, need_columns,
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
