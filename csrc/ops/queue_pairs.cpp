// Softmax losses of N queries (N, D), each with a positive key and the K entries of a queue (K, D) for negatives, and
// their gradients, in one call on the CPU: queries and keys are normalised or widened, tiles of logits become the
// log-sum-exps and the queue's means, as in queue_softmax.cpp, and these the losses and what both sides get. FLOPs:
// 4 N K D, or 2 N K D where neither query nor scale needs a gradient. Memory: one tile and both sides beside inputs and
// outputs, and a copy of a queue that is of another type than the products. There is no GPU implementation: there a
// batch waits for its launches, and those of queue_softmax are as few.
#include "sslfast/queue_pairs.h"

#include <algorithm>
#include <cmath>

#include "queue_tiles.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

// The scale is what a tensor of T would hold; a member, as in few_pairs.cpp.
template <typename T>
struct Request {
  T scale;
  double share;
  bool normalize, need_query, need_keys, need_scale;

  bool need_mean() const { return need_query || need_scale; }
};

// Up to so many numbers of a queue are widened sooner than weights are rounded, and of so many multiplications.
constexpr int64_t kWidened = int64_t{1} << 16, kProducts = int64_t{1} << 22;

// Whether the sides are multiplied as the bf16 that they are.
bool multiplies_half(const Tensor& query, const Tensor& keys, const Tensor& queue) {
  const auto is_half = [](const Tensor& t) { return t.scalar_type() == ScalarType::BFloat16; };
  return is_half(query) && is_half(keys) && is_half(queue) && query.is_contiguous() && queue.is_contiguous() &&
         (queue.numel() > kWidened || query.size(0) * queue.numel() > kProducts) && queue.size(1) >= kLeastDepth &&
         cpu::has_bf16_product();
}

template <typename T>
__attribute__((noinline)) Results run(const Tensor& query, const Tensor& keys, const Tensor& queue,
                                      const Request<T>& r) {
  const int64_t n = query.size(0), d = query.size(1), k = queue.size(0);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor memory = empty({6 * n + QueueResults<T>::size(n, k)}, kType<T>, query);
  T *lse = memory.mutable_data_ptr<T>(), *sum = lse + n, *positive = sum + n, *shares = positive + n,
    *key_norm = shares + n, *weights = key_norm + n, *tile = weights + n;
  std::optional<Tensor> norm, none;
  if (r.normalize) norm = empty({n}, kType<T>, query);
  T* query_norm = r.normalize ? norm->mutable_data_ptr<T>() : nullptr;
  const Tensor q = wide_side(query, query_norm, threads);
  const Tensor key = wide_side(keys, r.normalize ? key_norm : nullptr, threads);
  Results results;
  const auto gradient = [&](bool needed) {
    if (!needed) return static_cast<T*>(nullptr);
    results.push_back(empty({n, d}, kType<T>, query));
    return results.back().mutable_data_ptr<T>();
  };
  results.push_back(empty({}, kType<T>, query));
  T *query_grad = gradient(r.need_mean()), *key_grad = gradient(r.need_keys);

  const auto tiles = [&](auto& products) {
    if constexpr (std::is_same_v<typename std::decay_t<decltype(products)>::Number, T>) {
      const QueueResults<T> found{lse, sum, query_grad, tile, n, k, d};
      queue_tiles(products, found, Excluded<T>{}, static_cast<double>(r.scale), threads);
    }
  };
  const int64_t rows = r.need_mean() ? std::min(kQueueRows, n) : 0, cols = rows > 0 ? std::min(kQueueCols, k) : 0;
  // A norm beyond float32 makes a row of zeros, which products of what it was could not be.
  const bool in_range = !r.normalize || std::find(query_norm, query_norm + n, T(0)) == query_norm + n;
  if (in_range && multiplies_half(query, keys, queue)) {
    with_products(Sides{query, queue, norm, none}, rows, cols, tiles);
  } else {
    with_products(Sides{q, wide_side<T>(queue, nullptr, threads), none, none}, rows, cols, tiles);
  }

  const QueuePairs<T> pairs{
      q.const_data_ptr<T>(), key.const_data_ptr<T>(), shares, query_grad, key_grad, r.scale, n, d};
  cpu::queue_pair_logits(pairs, positive, threads);
  std::fill_n(weights, n, T(0));
  const double loss = cpu::pair_losses(PairLosses<T>{lse, positive, n, static_cast<T>(r.share), shares, weights});
  *results.front().mutable_data_ptr<T>() = static_cast<T>(r.share * loss);
  const double along = cpu::queue_pair_gradients(pairs, threads);
  if (r.normalize && r.need_query) {
    cpu::unit_rows_backward(UnitRowsBackward<T, T>{query_grad, pairs.query, query_norm, n, d}, threads);
  }
  if (r.normalize && r.need_keys) {
    cpu::unit_rows_backward(UnitRowsBackward<T, T>{key_grad, pairs.keys, key_norm, n, d}, threads);
  }
  if (r.need_mean() && !r.need_query) results.erase(results.begin() + 1);
  if (r.need_scale) results.push_back(scalar<T>(along, query));
  return results;
}

Results queue_pairs(const Tensor& query, const Tensor& keys, const Tensor& queue, const std::optional<Tensor>& scale,
                    double known_scale, double share, bool normalize, bool need_query, bool need_keys,
                    bool need_scale) {
  for (const Tensor* t : {&query, &keys, &queue}) {
    check(t->is_cpu() && t->dim() == 2 && t->size(0) > 0 && t->size(1) > 0 && t->size(1) == query.size(1),
          "queue_pairs: query, keys and queue must be matrices of one width, with a row and a column at least");
  }
  check(keys.size(0) == query.size(0), "queue_pairs: keys must have the shape of query");
  check(share > 0, "queue_pairs: share must be positive");
  const bool wide = query.scalar_type() == ScalarType::Double || keys.scalar_type() == ScalarType::Double;
  const double s = number(scale, known_scale);
  const auto run_as = [&](auto zero) {
    using T = decltype(zero);
    return run<T>(query, keys, queue,
                  Request<T>{static_cast<T>(s), share, normalize, need_query, need_keys, need_scale});
  };
  return wide ? run_as(double{}) : run_as(float{});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("queue_pairs", TORCH_BOX(&queue_pairs)); }

}  // namespace sslfast::ops
