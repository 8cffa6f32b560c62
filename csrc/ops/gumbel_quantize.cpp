// Sums and gradients of a Gumbel quantiser: each logit is read once forward and once backward, and its gradient written
// once. The codes come from gumbel_sample. The GPU implementation is kernels/gumbel_quantize.py.
#include "sslfast/gumbel_quantize.h"

#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

template <typename Params>
ScalarType read(Params& p, const Tensor& logits, const std::optional<Tensor>& mask) {
  check(logits.is_cpu() && logits.dim() == 3 && logits.is_contiguous() && logits.size(2) >= 1,
        "gumbel_quantize: logits must be contiguous (N, G, V)");
  p.logits = logits.const_data_ptr();
  p.dtype = read_dtype(logits.scalar_type());
  p.frames = logits.size(0);
  p.groups = logits.size(1);
  p.vars = logits.size(2);
  if (mask) {
    check(
        mask->is_cpu() && mask->scalar_type() == ScalarType::Bool && mask->is_contiguous() && mask->numel() == p.frames,
        "gumbel_quantize: mask must be contiguous bool, one a frame");
    p.mask = mask->const_data_ptr<bool>();
  }
  return wide(logits.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor, Tensor> gumbel_quantize(const Tensor& logits, const std::optional<Tensor>& mask) {
  GumbelQuantize p{};
  const ScalarType sums = read(p, logits, mask);
  const int64_t chunks = (p.frames + kQuantizeChunk - 1) / kQuantizeChunk;
  Tensor best = empty({p.frames, p.groups}, ScalarType::Long, logits), lse = empty({p.frames, p.groups}, sums, logits);
  Tensor probs = empty({chunks, p.groups, p.vars}, sums, logits);
  Tensor counts = empty({chunks, p.groups, p.vars}, sums, logits);
  p.best = best.mutable_data_ptr<int64_t>();
  p.lse = lse.mutable_data_ptr();
  p.probs = probs.mutable_data_ptr();
  p.counts = counts.mutable_data_ptr();
  launch([](const GumbelQuantize& params, int threads) { cpu::gumbel_quantize(params, threads); }, p, logits);
  return {best, lse, probs, counts};
}

Tensor gumbel_quantize_backward(const Tensor& logits, const std::optional<Tensor>& mask, const Tensor& lse,
                                const std::optional<Tensor>& products, const std::optional<Tensor>& shares,
                                const Tensor& seed, const Tensor& numbers, double temperature) {
  GumbelQuantizeBackward p{};
  const ScalarType sums = read(p, logits, mask);
  const int64_t rows = p.frames * p.groups;
  const auto packed = [](const Tensor& t, ScalarType dtype, int64_t size) {
    return t.is_cpu() && t.scalar_type() == dtype && t.is_contiguous() && t.numel() == size;
  };
  check(packed(lse, sums, rows) && packed(numbers, ScalarType::Long, rows) &&
            (!products || packed(*products, sums, rows * p.vars)) &&
            (!shares || packed(*shares, sums, p.groups * p.vars)),
        "gumbel_quantize_backward: lse, products (G, N, V) and shares (G, V) must be contiguous, float64 for float64 "
        "logits, else float32; numbers int64, one a row");
  p.lse = lse.const_data_ptr();
  if (products) p.products = products->const_data_ptr();
  if (shares) p.shares = shares->const_data_ptr();
  p.seed = read_seed(seed).get();
  p.numbers = numbers.const_data_ptr<int64_t>();
  p.temperature = temperature;
  Tensor grad = empty({p.frames, p.groups, p.vars}, logits.scalar_type(), logits);
  p.grad = grad.mutable_data_ptr();
  launch([](const GumbelQuantizeBackward& params, int threads) { cpu::gumbel_quantize_backward(params, threads); }, p,
         logits);
  return grad;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("gumbel_quantize", TORCH_BOX(&gumbel_quantize));
  m.impl("gumbel_quantize_backward", TORCH_BOX(&gumbel_quantize_backward));
}

}  // namespace sslfast::ops
