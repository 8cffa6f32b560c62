// The contrastive loss with margins and the triplet loss of a small batch: loss and gradient in one call, from the
// whole matrix of distances, N^2 numbers that no one keeps, or N M with M references. 2 N^2 D FLOPs for it, and as many
// for the product with the weights of both sides, which the hardest triplets do without; with references 2 N M D, and
// as many for either side's gradient. For the CPU alone, where a batch of some hundred rows takes less time than the
// calls of an implementation by strips; larger batches and a GPU, which waits for launches, take that one
// (losses/_pairs.py, losses/_triplets.py).
#include "sslfast/label_distances.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "small_batch.h"

namespace sslfast::ops {
namespace {

std::tuple<Tensor, Tensor> label_distances(const Tensor& z, const Tensor& labels, int64_t terms, int64_t distance,
                                           int64_t reduction, bool normalize, double margin, double neg_margin,
                                           bool squared, bool swap, bool smooth, bool need_grad,
                                           const std::optional<Tensor>& ref_emb,
                                           const std::optional<Tensor>& ref_labels, const std::optional<Tensor>& copies,
                                           bool need_ref_grad) {
  const SmallBatch batch{z, labels, ref_emb, ref_labels, copies};
  batch.check();
  check(0 <= terms && terms <= static_cast<int64_t>(LabelTerms::kSemiHard) && 0 <= distance &&
            distance <= static_cast<int64_t>(Distance::kCosine) && 0 <= reduction &&
            reduction <= static_cast<int64_t>(Reduction::kSum),
        "label_distances: there are no such terms, distance or reduction");
  check(terms == static_cast<int64_t>(LabelTerms::kHardest) || !(swap || smooth),
        "label_distances: swap and smooth are for the hardest triplets");
  check(terms == static_cast<int64_t>(LabelTerms::kPairs) || !squared, "label_distances: squared is for pairs");
  const int64_t all = batch.all(), d = batch.width(), learning = batch.learning(need_grad, need_ref_grad);
  const ScalarType dtype = batch.dtype();
  const auto plain = [&](const Tensor& x) { return x.is_contiguous() && x.scalar_type() == dtype; };
  check(normalize || (plain(z) && (!ref_emb || plain(*ref_emb))),
        "label_distances: rows that are not normalised must be contiguous, float32 or float64");
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const bool cosine = distance == static_cast<int64_t>(Distance::kCosine), own = normalize || ref_emb;
  Tensor unit = own ? empty({all, d}, dtype, z) : z, inverse_norm = empty({normalize ? all : 0}, dtype, z);
  Tensor centred = cosine ? unit : empty({all, d}, dtype, z);
  Tensor square = empty({batch.rows(), batch.columns()}, dtype, z);
  Tensor loss = empty({}, dtype, z), grad = empty({learning, d}, dtype, z);
  batch.with_products(centred, [&](auto& products) {
    using T = typename std::decay_t<decltype(products)>::Number;
    T *norms = inverse_norm.mutable_data_ptr<T>(), *found = grad.mutable_data_ptr<T>();
    if (normalize) {
      batch.normalise(unit.mutable_data_ptr<T>(), norms, threads);
    } else if (ref_emb) {  // one after the other
      T* points = unit.mutable_data_ptr<T>();
      std::copy_n(z.const_data_ptr<T>(), z.numel(), points);
      std::copy_n(ref_emb->const_data_ptr<T>(), ref_emb->numel(), points + z.numel());
    }
    const LabelDistances<T> p{batch.sides(unit.const_data_ptr<T>()),
                              static_cast<LabelTerms>(terms),
                              static_cast<Distance>(distance),
                              static_cast<Reduction>(reduction),
                              static_cast<T>(margin),
                              static_cast<T>(neg_margin),
                              squared,
                              swap,
                              smooth,
                              need_grad,
                              cosine ? nullptr : centred.mutable_data_ptr<T>(),
                              square.mutable_data_ptr<T>(),
                              loss.mutable_data_ptr<T>()};
    if (!cosine) cpu::centre_points(p, threads);
    products.logits(batch.place(), p.square, cosine ? -1.0 : -2.0, 1.0);
    const LabelGradient<T> gradient = cpu::label_distances(p, threads);
    if (!need_grad) return;
    if (std::isnan(*p.loss)) {
      std::fill_n(found, learning * d, *p.loss);  // the rows that comparisons passed over would have numbers
      return;
    }
    if (gradient.dense) {
      batch.to_points(products, p.square, found, -1.0, learning);
    } else {
      std::fill_n(found, learning * d, T(0));
    }
    cpu::label_pulls(p, gradient, learning, found, threads);
    if (normalize) cpu::unit_rows_backward(UnitRowsBackward<T, T>{found, p.points, norms, learning, d}, threads);
  });
  return {loss, grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("label_distances", TORCH_BOX(&label_distances)); }

}  // namespace sslfast::ops
