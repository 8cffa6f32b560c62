#include "sslfast/masked_feature.h"

#include <optional>
#include <tuple>
#include <vector>

#include "dtype.h"

namespace sslfast::ops {

static Layers read_layers(const std::vector<Tensor>& tensors) {
  Layers layers{};
  layers.count = static_cast<int64_t>(tensors.size());
  check(layers.count >= 1 && layers.count <= kMostLayers, "masked_feature: 1 to 48 layers");
  const Tensor& first = tensors[0];
  check(first.dim() == 3 && here(first), "masked_feature: layers must be (samples, length, width)");
  layers.samples = first.size(0);
  layers.length = first.size(1);
  layers.width = first.size(2);
  layers.dtype = read_dtype(first.scalar_type());
  for (int64_t k = 0; k < layers.count; ++k) {
    const Tensor& t = tensors[k];
    check(t.dim() == 3 && here(t) && t.scalar_type() == first.scalar_type() && t.size(0) == layers.samples &&
              t.size(1) == layers.length && t.size(2) == layers.width && (t.stride(2) == 1 || layers.width <= 1),
          "masked_feature: layers must be alike, their tokens contiguous");
    layers.data[k] = t.const_data_ptr();
    layers.sample_stride[k] = t.stride(0);
    layers.token_stride[k] = t.stride(1);
  }
  return layers;
}

static const void* read_moments(const Tensor& t, const Layers& layers, ScalarType type) {
  check(here(t) && t.scalar_type() == type && t.is_contiguous() &&
            t.numel() == layers.count * layers.samples * layers.width,
        "feature_targets: means and scales must be contiguous (layers, samples, width), of the type of sums");
  return t.const_data_ptr();
}

static Tensor feature_targets(std::vector<Tensor> layers, const Tensor& ids, const std::optional<Tensor>& means,
                              const std::optional<Tensor>& scales, bool layer_norm, bool target_norm, double eps) {
  FeatureTargets p{};
  p.layers = read_layers(layers);
  check(ids.dim() == 1 && here(ids) && ids.scalar_type() == ScalarType::Long && ids.is_contiguous(),
        "feature_targets: ids must be contiguous int64");
  check(means.has_value() == scales.has_value(), "feature_targets: means go with scales");
  const ScalarType sums = wide(layers[0].scalar_type());
  p.ids = ids.const_data_ptr<int64_t>();
  p.rows = ids.size(0);
  if (means) {
    p.means = read_moments(*means, p.layers, sums);
    p.scales = read_moments(*scales, p.layers, sums);
  }
  p.layer_norm = layer_norm;
  p.target_norm = target_norm;
  p.eps = eps;
  Tensor out = empty({p.rows, p.layers.width}, sums, ids);
  p.out = out.mutable_data_ptr();
  launch([](const FeatureTargets& params, auto where) { return backend::feature_targets(params, where); }, p, ids);
  return out;
}

static std::tuple<Tensor, Tensor> feature_moments(std::vector<Tensor> layers, double eps) {
  FeatureMoments p{};
  p.layers = read_layers(layers);
  p.eps = eps;
  const ScalarType sums = wide(layers[0].scalar_type());
  Tensor means = empty({p.layers.count, p.layers.samples, p.layers.width}, sums, layers[0]);
  Tensor scales = empty({p.layers.count, p.layers.samples, p.layers.width}, sums, layers[0]);
  p.means = means.mutable_data_ptr();
  p.scales = scales.mutable_data_ptr();
  launch([](const FeatureMoments& params, auto where) { return backend::feature_moments(params, where); }, p,
         layers[0]);
  return {means, scales};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("feature_targets", TORCH_BOX(&feature_targets));
  m.impl("feature_moments", TORCH_BOX(&feature_moments));
}

}  // namespace sslfast::ops
