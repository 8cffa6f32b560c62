#include "sslfast/feature_corruption.h"

#include <optional>
#include <tuple>

#include "dtype.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor, Tensor> feature_corruption(const Tensor& x, const Tensor& bank, const Tensor& seed,
                                                             const std::optional<Tensor>& sample_ids, bool exact,
                                                             int64_t count, double probability, int64_t source,
                                                             bool changed, int64_t infinity, bool need_sources,
                                                             int64_t row_offset) {
  check(x.dim() == 2 && here(x) && x.element_size() <= 8, "feature_corruption: x must be (rows, features)");
  check(bank.dim() == 2 && here(bank) && bank.scalar_type() == x.scalar_type() && bank.size(1) == x.size(1),
        "feature_corruption: bank must be (bank rows, features), like x");
  FeatureCorruption p{};
  p.rows = x.size(0);
  p.features = x.size(1);
  p.bank_rows = bank.size(0);
  check(p.features >= 1 && p.features < int64_t{1} << 32, "feature_corruption: rows of 1 to 2^32 - 1 features");
  check(count >= 0 && count <= p.features && probability >= 0 && probability <= 1 && source >= 0 && source <= 3,
        "feature_corruption: no such rule");
  check((p.bank_rows >= 1 || p.rows == 0) && p.bank_rows < int64_t{1} << 31,
        "feature_corruption: banks of 1 to 2^31 - 1 rows");
  Tensor out = empty({p.rows, p.features}, x.scalar_type(), x);
  Tensor mask = empty({p.rows, p.features}, ScalarType::Bool, x);
  Tensor sources = empty({need_sources ? p.rows : 0, p.features}, ScalarType::Int, x);
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.exact = exact;
  p.count = count;
  p.threshold = probability_threshold(probability);
  p.source = static_cast<FeatureSource>(source);
  check(p.source != FeatureSource::kPermutation || p.bank_rows == p.rows,
        "feature_corruption: the bank of a permutation is x");
  p.element_size = static_cast<int64_t>(x.element_size());
  p.changed = changed;
  p.infinity = static_cast<uint64_t>(infinity);
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_stride = x.stride(1);
  p.bank = bank.const_data_ptr();
  p.bank_row_stride = bank.stride(0);
  p.bank_stride = bank.stride(1);
  p.out = out.mutable_data_ptr();
  p.mask = mask.mutable_data_ptr<bool>();
  p.sources = data_if<int32_t>(need_sources, sources);
  std::optional<Tensor> ranges;
  if (p.source == FeatureSource::kUniform) {
    p.dtype = read_dtype(x.scalar_type());
#ifdef SSLFAST_WITH_CUDA
    ranges = empty({2 * p.features}, ScalarType::Long, x);
    p.ranges = static_cast<uint64_t*>(ranges->mutable_data_ptr());
#endif
  }
  if (p.rows > 0) {
    launch([](const FeatureCorruption& params, auto where) { return backend::feature_corruption(params, where); }, p,
           x);
  }
  return {out, mask, sources};
}

static std::tuple<Tensor, Tensor> feature_corruption_backward(const Tensor& grad, const Tensor& sources,
                                                              int64_t bank_rows, bool bank_is_x, bool need_x,
                                                              bool need_bank) {
  check(grad.dim() == 2 && here(grad), "feature_corruption_backward: grad must be (rows, features)");
  check(sources.dim() == 2 && here(sources) && sources.scalar_type() == ScalarType::Int && sources.is_contiguous() &&
            sources.size(0) == grad.size(0) && sources.size(1) == grad.size(1),
        "feature_corruption_backward: sources must be contiguous int32, like grad");
  check(bank_rows >= 0 && (!bank_is_x || bank_rows == grad.size(0)), "feature_corruption_backward: no such bank");
  FeatureCorruptionBackward p{};
  p.rows = grad.size(0);
  p.features = grad.size(1);
  p.bank_rows = bank_rows;
  Tensor x = empty({need_x ? p.rows : 0, p.features}, grad.scalar_type(), grad);
  Tensor bank = empty({need_bank ? bank_rows : 0, p.features}, wide(grad.scalar_type()), grad);
  p.grad = grad.const_data_ptr();
  p.row_stride = grad.stride(0);
  p.stride = grad.stride(1);
  p.sources = sources.const_data_ptr<int32_t>();
  p.bank_is_x = bank_is_x;
  p.dtype = read_dtype(grad.scalar_type());
  p.x = data_if(need_x, x);
  p.bank = data_if(need_bank, bank);
  launch([](const FeatureCorruptionBackward& params,
            auto where) { return backend::feature_corruption_backward(params, where); },
         p, grad);
  return {x, bank};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("feature_corruption", TORCH_BOX(&feature_corruption));
  m.impl("feature_corruption_backward", TORCH_BOX(&feature_corruption_backward));
}

}  // namespace sslfast::ops
