// The contrastive loss with margins and the triplet loss of a small batch: loss and gradient in one call, from the
// whole matrix of distances, N^2 numbers that no one keeps. 2 N^2 D FLOPs for it, and as many for the product with the
// weights of both sides, which the hardest triplets do without. For the CPU alone, where a batch of some hundred rows
// takes less time than the calls of an implementation by strips; larger batches, references and a GPU, which waits for
// launches, take that one (losses/_pairs.py, losses/_triplets.py).
#include "sslfast/label_distances.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "dtype.h"
#include "points.h"
#include "tile_products.h"

namespace sslfast::ops {
namespace {

std::tuple<Tensor, Tensor> label_distances(const Tensor& z, const Tensor& labels, int64_t terms, int64_t distance,
                                           int64_t reduction, bool normalize, double margin, double neg_margin,
                                           bool squared, bool swap, bool smooth, bool need_grad) {
  check_small_batch(z, labels);
  check(0 <= terms && terms <= static_cast<int64_t>(LabelTerms::kSemiHard) && 0 <= distance &&
            distance <= static_cast<int64_t>(Distance::kCosine) && 0 <= reduction &&
            reduction <= static_cast<int64_t>(Reduction::kSum),
        "label_distances: there are no such terms, distance or reduction");
  check(terms == static_cast<int64_t>(LabelTerms::kHardest) || !(swap || smooth),
        "label_distances: swap and smooth are for the hardest triplets");
  check(terms == static_cast<int64_t>(LabelTerms::kPairs) || !squared, "label_distances: squared is for pairs");
  const int64_t n = z.size(0), d = z.size(1);
  const ScalarType dtype = wide(z.scalar_type());
  check(normalize || (z.is_contiguous() && z.scalar_type() == dtype),
        "label_distances: rows that are not normalised must be contiguous, float32 or float64");
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const bool cosine = distance == static_cast<int64_t>(Distance::kCosine);
  Tensor unit = normalize ? empty({n, d}, dtype, z) : z, inverse_norm = empty({normalize ? n : 0}, dtype, z);
  Tensor centred = cosine ? unit : empty({n, d}, dtype, z), square = empty({n, n}, dtype, z);
  Tensor loss = empty({}, dtype, z), grad = empty({need_grad ? n : 0, d}, dtype, z);
  const std::optional<Tensor> none;
  const TilePlace all{0, n, 0, n};
  with_products(Sides{centred, centred, none, none}, 0, 0, [&](auto& products) {
    using T = typename std::decay_t<decltype(products)>::Number;
    T *norms = inverse_norm.mutable_data_ptr<T>(), *found = grad.mutable_data_ptr<T>();
    if (normalize) normalise(z, unit.mutable_data_ptr<T>(), norms, threads);
    const LabelDistances<T> p{unit.const_data_ptr<T>(),
                              labels.const_data_ptr<int64_t>(),
                              n,
                              d,
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
    products.logits(all, p.square, cosine ? -1.0 : -2.0, 1.0);
    const LabelGradient<T> gradient = cpu::label_distances(p, threads);
    if (!need_grad) return;
    if (std::isnan(*p.loss)) {
      std::fill_n(found, n * d, *p.loss);  // the rows that comparisons passed over would have numbers
      return;
    }
    if (gradient.dense) {
      products.to_rows(all, p.square, found, -1.0, false);
    } else {
      std::fill_n(found, n * d, T(0));
    }
    cpu::label_pulls(p, gradient, found, threads);
    if (normalize) cpu::unit_rows_backward(UnitRowsBackward<T, T>{found, p.points, norms, n, d}, threads);
  });
  return {loss, grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("label_distances", TORCH_BOX(&label_distances)); }

}  // namespace sslfast::ops
