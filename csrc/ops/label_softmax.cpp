// SupCon and NT-Xent with many positives of a small batch: loss and gradient in one call, from the whole matrix of
// logits, N^2 numbers that no one keeps. 4 N^2 D FLOPs: a product of all rows, and one with the weights of both sides.
// For the CPU alone, where a batch of some hundred rows takes less time than the calls of an implementation by tiles;
// larger batches and a GPU, which waits for launches, take that one (losses/supcon.py,
// losses/multi_positive_nt_xent.py).
#include "sslfast/label_softmax.h"

#include <limits>
#include <tuple>

#include "dtype.h"
#include "points.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

std::tuple<Tensor, Tensor> label_softmax(const Tensor& z, const Tensor& labels, double scale, bool each_positive,
                                         bool need_grad) {
  check_small_batch(z, labels);
  const int64_t n = z.size(0), d = z.size(1);
  const ScalarType dtype = wide(z.scalar_type());
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor unit = empty({n, d}, dtype, z), inverse_norm = empty({n}, dtype, z), square = empty({n, n}, dtype, z);
  Tensor loss = empty({}, dtype, z), grad = empty({need_grad ? n : 0, d}, dtype, z);
  const std::optional<Tensor> none;
  const TilePlace all{0, n, 0, n};
  with_products(Sides{unit, unit, none, none}, 0, 0, [&](auto& products) {
    using T = typename std::decay_t<decltype(products)>::Number;
    T *units = unit.mutable_data_ptr<T>(), *norms = inverse_norm.mutable_data_ptr<T>();
    T *logits = square.mutable_data_ptr<T>(), *found = grad.mutable_data_ptr<T>();
    normalise(z, units, norms, threads);
    products.logits(all, logits, scale, std::numeric_limits<double>::infinity());  // with its finer sums
    cpu::label_softmax(LabelSoftmax<T>{units, labels.const_data_ptr<int64_t>(), n, d, scale, each_positive, need_grad,
                                       logits, loss.mutable_data_ptr<T>()},
                       threads);
    if (!need_grad) return;
    products.to_rows(all, logits, found, scale, false);
    cpu::unit_rows_backward(UnitRowsBackward<T, T>{found, units, norms, n, d}, threads);
  });
  return {loss, grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("label_softmax", TORCH_BOX(&label_softmax)); }

}  // namespace sslfast::ops
