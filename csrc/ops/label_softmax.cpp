// SupCon and NT-Xent with many positives of a small batch: loss and gradient in one call, from the whole matrix of
// logits, N^2 numbers that no one keeps, or, of the latter, N M with M references. 4 N^2 D FLOPs: a product of all
// rows, and one with the weights of both sides; 4 N M D with references, 6 where they take a gradient. For the CPU
// alone, where a batch of some hundred rows takes less time than the calls of an implementation by tiles; larger ones
// and a GPU, which waits for launches, take that one (losses/supcon.py, losses/multi_positive_nt_xent.py).
#include "sslfast/label_softmax.h"

#include <limits>
#include <tuple>

#include "small_batch.h"

namespace sslfast::ops {
namespace {

std::tuple<Tensor, Tensor> label_softmax(const Tensor& z, const Tensor& labels, double scale, bool each_positive,
                                         bool need_grad, const std::optional<Tensor>& ref_emb,
                                         const std::optional<Tensor>& ref_labels, const std::optional<Tensor>& copies,
                                         bool need_ref_grad) {
  const SmallBatch batch{z, labels, ref_emb, ref_labels, copies};
  batch.check();
  check(each_positive || !ref_emb, "label_softmax: references are for each positive by itself");
  const int64_t d = batch.width(), learning = batch.learning(need_grad, need_ref_grad);
  const ScalarType dtype = batch.dtype();
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor unit = empty({batch.all(), d}, dtype, z), inverse_norm = empty({batch.all()}, dtype, z);
  Tensor square = empty({batch.rows(), batch.columns()}, dtype, z);
  Tensor loss = empty({}, dtype, z), grad = empty({learning, d}, dtype, z);
  batch.with_products(unit, [&](auto& products) {
    using T = typename std::decay_t<decltype(products)>::Number;
    T *units = unit.mutable_data_ptr<T>(), *norms = inverse_norm.mutable_data_ptr<T>();
    T *logits = square.mutable_data_ptr<T>(), *found = grad.mutable_data_ptr<T>();
    batch.normalise(units, norms, threads);
    // With its finer sums.
    products.logits(batch.place(), logits, scale, std::numeric_limits<double>::infinity());
    cpu::label_softmax(
        LabelSoftmax<T>{batch.sides<T>(units), scale, each_positive, need_grad, logits, loss.mutable_data_ptr<T>()},
        threads);
    if (!need_grad) return;
    batch.to_points(products, logits, found, scale, learning);
    cpu::unit_rows_backward(UnitRowsBackward<T, T>{found, units, norms, learning, d}, threads);
  });
  return {loss, grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("label_softmax", TORCH_BOX(&label_softmax)); }

}  // namespace sslfast::ops
