#include "sslfast/batch_mix.h"

#include <optional>

#include "image_lines.h"

namespace sslfast::ops {

static Tensor batch_mix_params(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                               int64_t rows, int64_t height, int64_t width, int64_t mode, int64_t partner,
                               double blend_alpha, double box_alpha, double probability, double box_probability,
                               int64_t box, double side_low, double side_high, bool area_lambda, int64_t row_offset) {
  check(rows >= 0 && rows <= 1 << 24, "batch_mix_params: at most 2^24 rows");
  check(height >= 1 && width >= 1 && height <= 1 << 24 && width <= 1 << 24,
        "batch_mix_params: height and width must be in [1, 2^24]");
  check(mode >= 0 && mode <= 2 && partner >= 0 && partner <= 2 && box >= 0 && box <= 2,
        "batch_mix_params: no such rule");
  check(blend_alpha >= 0 && box_alpha >= 0 && blend_alpha + box_alpha > 0, "batch_mix_params: alpha must be positive");
  check(probability >= 0 && probability <= 1 && box_probability >= 0 && box_probability <= 1,
        "batch_mix_params: probabilities must be in [0, 1]");
  check(side_low >= 0 && side_low <= side_high && side_high <= 1, "batch_mix_params: sides must be in [0, 1]");
  Tensor out = empty({rows, kMixColumns}, ScalarType::Float, like);
  BatchMixParams p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.height = height;
  p.width = width;
  p.mode = static_cast<MixMode>(mode);
  p.partner = static_cast<MixPartner>(partner);
  p.blend_alpha = blend_alpha;
  p.box_alpha = box_alpha;
  p.mix_threshold = probability_threshold(probability);
  p.box_threshold = probability_threshold(box_probability);
  p.box = static_cast<MixBox>(box);
  p.side_low = side_low;
  p.side_high = side_high;
  p.area_lambda = area_lambda;
  p.out = out.mutable_data_ptr<float>();
  launch([](const BatchMixParams& params, auto where) { return backend::batch_mix_params(params, where); }, p, like);
  return out;
}

static BatchMix mix_of(const Tensor& x, const Tensor& out, const Tensor& params) {
  check(params.dim() == 2 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == x.size(0) && params.size(1) == kMixColumns,
        "batch_mix: params must be contiguous float32 (N, 7)");
  BatchMix p{};
  p.from = image_lines(x);
  p.to = image_lines(out);
  p.x = x.const_data_ptr();
  p.out = out.mutable_data_ptr();
  p.bytes = x.scalar_type() == ScalarType::Byte;
  if (!p.bytes) p.dtype = read_dtype(x.scalar_type());
  p.params = params.const_data_ptr<float>();
  return p;
}

static void run(const BatchMix& p, const Tensor& x) {
  launch(
      [](const BatchMix& params, auto where) {
#ifdef SSLFAST_WITH_CUDA
        return backend::batch_mix(params, where);
#else
        check(backend::batch_mix(params, where), "batch_mix: in place, partners must be a permutation of the batch");
#endif
      },
      p, x);
}

static Tensor batch_mix(const Tensor& x, const Tensor& params) {
  Tensor out = empty_images(x);
  run(mix_of(x, out, params), x);
  return out;
}

static void batch_mix_(const Tensor& x, const Tensor& params) {
  check(x.size(0) <= kMostRowsInPlace, "batch_mix_: at most 8192 images in place");
  run(mix_of(x, x, params), x);
}

static Tensor batch_mix_backward(const Tensor& grad, const Tensor& params, const Tensor& users, const Tensor& starts) {
  Tensor out = empty_images(grad);
  BatchMixBackward p{};
  p.mix = mix_of(grad, out, params);
  check(!p.mix.bytes, "batch_mix_backward: bytes have no gradient");
  for (const Tensor& list : {users, starts}) {
    check(list.scalar_type() == ScalarType::Long && list.dim() == 1 && list.is_contiguous() && here(list),
          "batch_mix_backward: users and starts must be contiguous int64");
  }
  check(users.size(0) == p.mix.from.rows && starts.size(0) == p.mix.from.rows + 1,
        "batch_mix_backward: users must be (N), starts (N + 1)");
  p.users = users.const_data_ptr<int64_t>();
  p.starts = starts.const_data_ptr<int64_t>();
  launch([](const BatchMixBackward& params_, auto where) { return backend::batch_mix_backward(params_, where); }, p,
         grad);
  return out;
}

static Tensor mix_targets(const Tensor& labels, const Tensor& params, int64_t classes, double label_smoothing) {
  const int64_t rows = labels.size(0);
  check(labels.dim() == 1 && here(labels) && labels.scalar_type() == ScalarType::Long && labels.is_contiguous(),
        "mix_targets: labels must be contiguous int64 (N)");
  check(params.dim() == 2 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == rows && params.size(1) == kMixColumns,
        "mix_targets: params must be contiguous float32 (N, 7)");
  check(classes >= 1 && label_smoothing >= 0 && label_smoothing <= 1, "mix_targets: at least one class");
  Tensor out = empty({rows, classes}, ScalarType::Float, labels);
  MixTargets p{};
  p.labels = labels.const_data_ptr<int64_t>();
  p.params = params.const_data_ptr<float>();
  p.rows = rows;
  p.classes = classes;
  p.on = static_cast<float>(1 - label_smoothing);
  p.off = static_cast<float>(label_smoothing / static_cast<double>(classes));
  p.out = out.mutable_data_ptr<float>();
  launch(
      [](const MixTargets& what, auto where) {
#ifdef SSLFAST_WITH_CUDA
        return backend::mix_targets(what, where);
#else
        check(backend::mix_targets(what, where), "mix_targets: labels must be in [0, num_classes)");
#endif
      },
      p, labels);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("batch_mix_params", TORCH_BOX(&batch_mix_params));
  m.impl("batch_mix", TORCH_BOX(&batch_mix));
  m.impl("batch_mix_", TORCH_BOX(&batch_mix_));
  m.impl("mix_targets", TORCH_BOX(&mix_targets));
  m.impl("batch_mix_backward", TORCH_BOX(&batch_mix_backward));
}

}  // namespace sslfast::ops
