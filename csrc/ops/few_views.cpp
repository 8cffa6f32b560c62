// NT-Xent and the decoupled losses of two views of N samples in batches that are small, with all gradients, in one call
// on the CPU: the 2N views are normalised into one matrix, one product makes all logits, csrc/cpu turns them into
// losses and then into weights, and products take these back to the views that need it, and through the norms. FLOPs: 8
// N^2 D, and 4 N^2 D for each view that needs a gradient. Memory: the 4 N^2 logits and both views beside inputs and
// outputs. There is no GPU implementation: there a batch waits for its launches, and those of NT-Xent are as few.
#include "sslfast/few_views.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "sslfast/similarity_softmax.h"
#include "tile_products.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

struct Request {
  double scale;
  std::optional<double> sigma;
  bool decoupled, need_z0, need_z1, need_weights;

  bool need_weighing() const { return need_z0 || need_z1; }
};

// Vectors of the n views, and scratch for the tile.
template <typename T>
struct Vectors {
  T *norm, *shift, *lse, *positive, *shares, *pulls, *weights, *scratch;

  static int64_t size(int64_t n) { return 7 * n + cpu::similarity_scratch(n, n); }
  Vectors(T* x, int64_t n)
      : norm(x),
        shift(x + n),
        lse(x + 2 * n),
        positive(x + 3 * n),
        shares(x + 4 * n),
        pulls(x + 5 * n),
        weights(x + 6 * n),
        scratch(x + 7 * n) {}
};

// Turns logits into log-sum-exps over the negatives, and leaves what similarity_backward_tile wants.
template <typename T>
void sum_up(const SimilarityTile<T>& square, const Vectors<T>& v, bool bounded, int threads) {
  const int64_t n = square.rows;
  std::fill_n(v.shift, n, bounded ? T(0) : -std::numeric_limits<T>::infinity());
  std::fill_n(v.lse, n, T(0));
  cpu::similarity_forward_tile(square, SimilaritySums<T>{v.shift, v.lse, v.positive, v.scratch, bounded}, threads);
  for (int64_t i = 0; i < n; ++i) v.lse[i] = v.shift[i] + std::log(v.lse[i]);
}

// The sum of the losses; v.shares and v.pulls become the derivatives of their mean in log-sum-exps and positives.
template <typename Products, typename T>
double sum_of_losses(const Products& products, const SimilarityTile<T>& square, const std::optional<Tensor>& weights,
                     const Vectors<T>& v, const Request& r) {
  const int64_t n = square.rows;
  const T share = T(1) / static_cast<T>(n);
  products.pair_logits(square.positives, r.scale, v.positive);
  if (!r.decoupled) {
    std::fill_n(v.pulls, n, T(0));
    return cpu::pair_losses(PairLosses<T>{v.lse, v.positive, n, share, v.shares, v.pulls});
  }
  if (weights) {
    cpu::wide_rows(weights->const_data_ptr(), read_dtype(weights->scalar_type()), 1, n, n, weights->stride(0),
                   v.weights, 1);
  } else if (r.sigma) {
    products.pair_logits(square.positives, 1 / *r.sigma, v.weights);
    cpu::mises_fisher_weights(v.weights, n / 2);
  }
  const T* weighted = weights || r.sigma ? v.weights : nullptr;
  return cpu::decoupled_losses(DecoupledLosses<T>{v.lse, v.positive, weighted, n, share, v.shares, v.pulls});
}

template <typename T>
__attribute__((noinline)) Results run(const Tensor& z0, const Tensor& z1, const std::optional<Tensor>& weights,
                                      const Request& r) {
  const int64_t samples = z0.size(0), n = 2 * samples, d = z0.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads()), team = team_of(n * n, threads);
  Tensor memory = empty({n * n + Vectors<T>::size(n)}, kType<T>, z0);
  T* tile = memory.mutable_data_ptr<T>();
  const Vectors<T> v(tile + n * n, n);
  Tensor views = empty_in_large_pages<T>({n, d}, z0);
  T* units = views.mutable_data_ptr<T>();
  widen_to(z0, units, v.norm, threads);
  widen_to(z1, units + samples * d, v.norm + samples, threads);
  std::vector<int64_t> positives(n);
  for (int64_t i = 0; i < n; ++i) positives[i] = i < samples ? i + samples : i - samples;
  const SimilarityTile<T> square{tile, n, n, 0, 0, positives.data()};
  const TilePlace all{0, n, 0, n}, view{0, samples, 0, n};
  const std::optional<Tensor> none;
  Results results{empty({}, kType<T>, z0)};
  with_products(Sides{views, views, none, none}, 0, 0, [&](auto& products) {
    if constexpr (std::is_same_v<typename std::decay_t<decltype(products)>::Number, T>) {
      products.logits(all, tile, r.scale, r.scale);
      sum_up(square, v, std::fabs(r.scale) <= kLogitBound, team);
      const double loss = sum_of_losses(products, square, weights, v, r);
      *results.front().mutable_data_ptr<T>() = static_cast<T>(loss / static_cast<double>(n));
      if (!r.need_weighing()) return;
      cpu::similarity_backward_tile(square, SimilarityGrads<T>{v.lse, v.shares, v.scratch, {}}, team);
      // The square is symmetric, but for the positives, which the tile leaves at none: a row gets those of both views.
      // Their weights are as large as all others of a row together, which as one sum would be rounded more.
      for (int64_t i = 0; i < samples; ++i) v.pulls[i] = v.pulls[i + samples] += v.pulls[i];
      for (const int64_t first : {int64_t{0}, samples}) {
        if (!(first == 0 ? r.need_z0 : r.need_z1)) continue;
        results.push_back(empty({samples, d}, kType<T>, z0));
        T* grad = results.back().mutable_data_ptr<T>();
        // The rows of the square that are the view's, with all columns: a matrix of their own.
        products.to_rows(view, tile + first * n, grad, r.scale, false);
        cpu::add_pairs(PositivePairs<T, T>{units + first * d, units, nullptr, nullptr, positives.data() + first,
                                           v.pulls + first, samples, d},
                       r.scale, grad, nullptr, team);
        cpu::unit_rows_backward(UnitRowsBackward<T, T>{grad, units + first * d, v.norm + first, samples, d}, team);
      }
    }
  });
  if (r.need_weights) {
    results.push_back(empty({n}, kType<T>, z0));
    T* grad = results.back().mutable_data_ptr<T>();
    for (int64_t i = 0; i < n; ++i) grad[i] = -v.shares[i] * v.positive[i];
  }
  return results;
}

Results few_views(const Tensor& z0, const Tensor& z1, const std::optional<Tensor>& weights, double scale,
                  std::optional<double> sigma, bool decoupled, bool need_z0, bool need_z1, bool need_weights) {
  for (const Tensor* t : {&z0, &z1}) {
    check(t->is_cpu() && t->dim() == 2 && t->size(0) > 0 && t->size(1) > 0 && t->size(0) == z0.size(0) &&
              t->size(1) == z0.size(1),
          "few_views: z0 and z1 must be matrices of one shape, with a row and a column at least");
  }
  check(z0.size(0) <= 1 << 14, "few_views: at most 2^14 samples are a small batch");
  check(!(weights || sigma) || decoupled, "few_views: weights and sigma are for decoupled losses");
  check(!weights || (weights->is_cpu() && weights->dim() == 1 && weights->size(0) == 2 * z0.size(0) && !sigma),
        "few_views: weights must be one for each view, on the CPU, and go without sigma");
  check(!need_weights || weights, "few_views: weights that are not given have no gradient");
  const bool wide = z0.scalar_type() == ScalarType::Double || z1.scalar_type() == ScalarType::Double;
  const Request request{scale, sigma, decoupled, need_z0, need_z1, need_weights};
  return wide ? run<double>(z0, z1, weights, request) : run<float>(z0, z1, weights, request);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("few_views", TORCH_BOX(&few_views)); }

}  // namespace sslfast::ops
