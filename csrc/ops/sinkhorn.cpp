// The iteration of Sinkhorn-Knopp by the potentials of the prototypes: one read of the scores for the masses of the
// prototypes, one read and one write for the assignments. The GPU implementation is kernels/sinkhorn.py.
#include "sslfast/sinkhorn.h"

#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

Sinkhorn read(const Tensor& scores, const std::optional<Tensor>& weights, double scale) {
  check(scores.is_cpu() && scores.dim() == 2 && (scores.stride(1) == 1 || scores.size(1) <= 1),
        "sinkhorn: scores must be (N, K), rows contiguous");
  Sinkhorn p{};
  p.scores = scores.const_data_ptr();
  p.dtype = read_dtype(scores.scalar_type());
  p.samples = scores.size(0);
  p.prototypes = scores.size(1);
  p.row_stride = scores.stride(0);
  p.scale = scale;
  if (!weights) return p;
  check(weights->is_cpu() && weights->dim() == 1 && weights->is_contiguous() && weights->size(0) == p.samples &&
            weights->scalar_type() == wide(scores.scalar_type()),
        "sinkhorn: weights must be (N,), contiguous, float64 for float64 scores, else float32");
  p.weights = weights->const_data_ptr();
  return p;
}

void add_potentials(Sinkhorn& p, const Tensor& scores, const Tensor& potentials) {
  check(potentials.is_cpu() && potentials.dim() == 1 && potentials.is_contiguous() &&
            potentials.size(0) == p.prototypes && potentials.scalar_type() == wide(scores.scalar_type()),
        "sinkhorn: potentials must be (K,), contiguous, float64 for float64 scores, else float32");
  p.potentials = potentials.const_data_ptr();
}

std::tuple<Tensor, Tensor> sinkhorn_peaks(const Tensor& scores, const std::optional<Tensor>& weights, double scale) {
  Sinkhorn p = read(scores, weights, scale);
  const ScalarType sums = wide(scores.scalar_type());
  Tensor tops = empty({p.prototypes}, sums, scores), out = empty({p.prototypes}, sums, scores);
  p.tops = tops.mutable_data_ptr();
  p.out = out.mutable_data_ptr();
  launch([](const Sinkhorn& params, int threads) { cpu::sinkhorn_peaks(params, threads); }, p, scores);
  return {tops, out};
}

Tensor sinkhorn_masses(const Tensor& scores, const Tensor& potentials, const std::optional<Tensor>& weights,
                       double scale) {
  Sinkhorn p = read(scores, weights, scale);
  add_potentials(p, scores, potentials);
  const ScalarType sums = wide(scores.scalar_type());
  const int64_t chunks = (p.samples + kSinkhornChunk - 1) / kSinkhornChunk;
  Tensor out = empty({p.prototypes}, sums, scores), partial = empty({chunks, p.prototypes}, sums, scores);
  p.out = out.mutable_data_ptr();
  p.partial = partial.mutable_data_ptr();
  launch([](const Sinkhorn& params, int threads) { cpu::sinkhorn_masses(params, threads); }, p, scores);
  return out;
}

Tensor sinkhorn_potentials(const Tensor& scores, const std::optional<Tensor>& weights, double scale,
                           int64_t iterations) {
  Sinkhorn p = read(scores, weights, scale);
  check(iterations > 0, "sinkhorn_potentials: iterations must be at least 1");
  const ScalarType sums = wide(scores.scalar_type());
  const int64_t chunks = (p.samples + kSinkhornChunk - 1) / kSinkhornChunk;
  Tensor out = empty({p.prototypes}, sums, scores), partial = empty({chunks, p.prototypes}, sums, scores);
  p.out = out.mutable_data_ptr();
  p.partial = partial.mutable_data_ptr();
  launch([iterations](const Sinkhorn& params,
                      int threads) { cpu::sinkhorn_potentials(params, static_cast<int>(iterations), threads); },
         p, scores);
  return out;
}

Tensor sinkhorn_assign(const Tensor& scores, const Tensor& potentials, double scale, int64_t rows) {
  Sinkhorn p = read(scores, std::nullopt, scale);
  add_potentials(p, scores, potentials);
  check(0 <= rows && rows <= p.samples, "sinkhorn_assign: rows must be at most those of scores");
  Tensor out = empty({rows, p.prototypes}, wide(scores.scalar_type()), scores);
  p.out = out.mutable_data_ptr();
  launch([rows](const Sinkhorn& params, int threads) { cpu::sinkhorn_assign(params, rows, threads); }, p, scores);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("sinkhorn_peaks", TORCH_BOX(&sinkhorn_peaks));
  m.impl("sinkhorn_masses", TORCH_BOX(&sinkhorn_masses));
  m.impl("sinkhorn_potentials", TORCH_BOX(&sinkhorn_potentials));
  m.impl("sinkhorn_assign", TORCH_BOX(&sinkhorn_assign));
}

}  // namespace sslfast::ops
