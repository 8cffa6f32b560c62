// Rows (N, D) against a queue (K, D) without a gradient, in one pass: the log-sum-exp of each row's logits and the mean
// of the queue under its softmax, which is all that the gradient needs. FLOPs: 4 N K D, or 2 N K D without the mean;
// memory: one tile beside inputs and outputs. The GPU implementation is kernels/queue_softmax.py.
#include "sslfast/queue_softmax.h"

#include <algorithm>
#include <tuple>

#include "exclusions.h"
#include "queue_tiles.h"

namespace sslfast::ops {
namespace {

template <typename Products>
std::tuple<Tensor, Tensor> run(Products& products, const Tensor& rows, const Tensor& queue, const Tensor& scale,
                               const Exclusions& exclusions, bool need_mean) {
  using T = typename Products::Number;
  const int64_t n = rows.size(0), d = rows.size(1), k = queue.size(0);
  Tensor lse = empty({n}, kType<T>, rows), mean = empty({need_mean ? n : 0, d}, kType<T>, rows);
  Tensor scratch = empty({n + QueueResults<T>::size(n, k)}, kType<T>, rows);
  T* sum = scratch.mutable_data_ptr<T>();
  const QueueResults<T> results{
      lse.mutable_data_ptr<T>(), sum, need_mean ? mean.mutable_data_ptr<T>() : nullptr, sum + n, n, k, d};
  queue_tiles(products, results, exclusions.pointers<T>(), static_cast<double>(*scale.const_data_ptr<T>()),
              static_cast<int>(torch::stable::get_num_threads()));
  return {lse, mean};
}

std::tuple<Tensor, Tensor> queue_softmax(const Tensor& rows, const Tensor& queue, const Tensor& scale,
                                         const std::optional<Tensor>& positives, const std::optional<Tensor>& row_ids,
                                         const std::optional<Tensor>& col_ids, const std::optional<Tensor>& row_limits,
                                         bool need_mean, const std::optional<Tensor>& row_factors,
                                         const std::optional<Tensor>& col_factors) {
  const Exclusions exclusions{positives, row_ids, col_ids, row_limits};
  for (const Tensor* t : {&rows, &queue}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "queue_softmax: rows and queue must be matrices with a row at least, contiguous");
  }
  const Sides sides{rows, queue, row_factors, col_factors};
  sides.check();
  check(queue.scalar_type() == rows.scalar_type() && queue.size(1) == rows.size(1),
        "queue_softmax: queue must have the dtype and the width of rows");
  check(scale.is_cpu() && scale.numel() == 1 && scale.scalar_type() == sum_type(rows.scalar_type()),
        "queue_softmax: scale must be one number, float64 for float64 rows, else float32");
  exclusions.check(rows.size(0), queue.size(0), sum_type(rows.scalar_type()));
  return with_products(sides, need_mean ? std::min(kQueueRows, rows.size(0)) : 0,
                       need_mean ? std::min(kQueueCols, queue.size(0)) : 0,
                       [&](auto& products) { return run(products, rows, queue, scale, exclusions, need_mean); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("queue_softmax", TORCH_BOX(&queue_softmax)); }

}  // namespace sslfast::ops
