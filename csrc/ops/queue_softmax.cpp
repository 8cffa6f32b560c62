// Rows (N, D) against a queue (K, D) without a gradient, in one pass: the log-sum-exp of each row's logits and the mean
// of the queue under its softmax, which is all that the gradient needs. FLOPs: 4 N K D, or 2 N K D without the mean;
// memory: one tile beside inputs and outputs. The GPU implementation is kernels/queue_softmax.py.
#include "sslfast/queue_softmax.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "exclusions.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kRows = 512, kCols = 512;  // a float tile is 1 MiB and stays in L2

template <typename T>
std::tuple<Tensor, Tensor> run(const Tensor& rows, const Tensor& queue, const Tensor& scale,
                               const Exclusions& exclusions, bool need_mean) {
  const int64_t n = rows.size(0), d = rows.size(1), k = queue.size(0);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor lse = empty({n}, kType<T>, rows), mean = empty({need_mean ? n : 0, d}, kType<T>, rows);
  Tensor sum = empty({n}, kType<T>, rows);
  Tensor tile = empty({std::min(kRows, n) * std::min(kCols, k)}, kType<T>, rows);
  const Excluded<T> excluded = exclusions.pointers<T>();
  const auto factor = static_cast<double>(*scale.const_data_ptr<T>());
  const T *x = rows.const_data_ptr<T>(), *q = queue.const_data_ptr<T>();
  T* logits = tile.mutable_data_ptr<T>();
  T* means = need_mean ? mean.mutable_data_ptr<T>() : nullptr;
  std::fill_n(lse.mutable_data_ptr<T>(), n, -std::numeric_limits<T>::infinity());
  std::fill_n(sum.mutable_data_ptr<T>(), n, T(0));
  std::fill_n(means, need_mean ? n * d : 0, T(0));
  for (int64_t row0 = 0; row0 < n; row0 += kRows) {
    const int64_t r = std::min(kRows, n - row0);
    const QueueSums<T> sums{lse.mutable_data_ptr<T>() + row0, sum.mutable_data_ptr<T>() + row0,
                            need_mean ? means + row0 * d : nullptr, d};
    for (int64_t col0 = 0; col0 < k; col0 += kCols) {
      const int64_t c = std::min(kCols, k - col0);
      const Tensor weights = matrix(logits, r, c, c, 1);
      product(weights, slab(x, row0, r, d), slab_transposed(q, col0, c, d), 0, factor);
      cpu::exclude(logits, r, c, row0, col0, excluded, threads);
      cpu::queue_softmax_tile(logits, r, c, sums, threads);
      if (need_mean) product(slab(means, row0, r, d), weights, slab(q, col0, c, d), 1, 1);
    }
    cpu::queue_softmax_finish(r, sums);
  }
  return {lse, mean};
}

std::tuple<Tensor, Tensor> queue_softmax(const Tensor& rows, const Tensor& queue, const Tensor& scale,
                                         const std::optional<Tensor>& positives, const std::optional<Tensor>& row_ids,
                                         const std::optional<Tensor>& col_ids, const std::optional<Tensor>& row_limits,
                                         bool need_mean) {
  const Exclusions exclusions{positives, row_ids, col_ids, row_limits};
  for (const Tensor* t : {&rows, &queue}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(0) > 0,
          "queue_softmax: rows and queue must be matrices with a row at least, contiguous");
  }
  check(rows.scalar_type() == ScalarType::Float || rows.scalar_type() == ScalarType::Double,
        "queue_softmax: rows must be float32 or float64");
  check(queue.scalar_type() == rows.scalar_type() && queue.size(1) == rows.size(1),
        "queue_softmax: queue must have the dtype and the width of rows");
  check(scale.is_cpu() && scale.numel() == 1 && scale.scalar_type() == rows.scalar_type(),
        "queue_softmax: scale must be one number of the dtype of rows");
  exclusions.check(rows.size(0), queue.size(0), rows.scalar_type());
  return (rows.scalar_type() == ScalarType::Double ? run<double> : run<float>)(rows, queue, scale, exclusions,
                                                                               need_mean);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("queue_softmax", TORCH_BOX(&queue_softmax)); }

}  // namespace sslfast::ops
