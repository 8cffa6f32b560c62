#include "sslfast/feature_noise.h"

#include "dtype.h"
#include "tensor.h"

namespace sslfast::ops {

static Tensor feature_noise(const Tensor& x, const std::optional<Tensor>& factors, const Tensor& seed,
                            const std::optional<Tensor>& sample_ids, double scale, double probability, bool gaussian,
                            int64_t row_offset) {
  check(x.dim() == 2 && here(x), "feature_noise: x must be (rows, features)");
  check(x.size(1) < int64_t{1} << 32, "feature_noise: at most 2^32 - 1 features");
  check(!factors || (factors->scalar_type() == wide(x.scalar_type()) && factors->dim() == 1 && here(*factors) &&
                     factors->is_contiguous() && factors->size(0) == x.size(1)),
        "feature_noise: factors must be contiguous, one a feature, float32, float64 beside float64");
  check(probability >= 0 && probability <= 1, "feature_noise: probability out of range");
  Tensor out = empty({x.size(0), x.size(1)}, x.scalar_type(), x);
  FeatureNoise p{};
  p.x = x.const_data_ptr();
  p.rows = x.size(0);
  p.features = x.size(1);
  p.row_stride = x.stride(0);
  p.stride = x.stride(1);
  p.dtype = read_dtype(x.scalar_type());
  p.factors = factors ? factors->const_data_ptr() : nullptr;
  p.scale = scale;
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.threshold = probability_threshold(probability);
  p.gaussian = gaussian;
  p.out = out.mutable_data_ptr();
  launch([](const FeatureNoise& params, auto where) { return backend::feature_noise(params, where); }, p, x);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("feature_noise", TORCH_BOX(&feature_noise)); }

}  // namespace sslfast::ops
