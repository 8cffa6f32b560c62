#include "sslfast/image_augment_backward.h"

#include <vector>

#include "tensor.h"

namespace sslfast::ops {

using Floats = std::vector<double>;
using Integers = std::vector<int64_t>;

static Pixels pixels_of(ScalarType type) {
  if (type == ScalarType::BFloat16) return Pixels::kBFloat16;
  if (type == ScalarType::Half) return Pixels::kHalf;
  check(type == ScalarType::Float, "image_augment_backward: images must be float32, bfloat16 or float16");
  return Pixels::kFloat;
}

// grad is float32 (N, C, h, w), contiguous; images are (N, C, H, W) of any strides, params float32 (N, 1, columns).
// Returns contiguous (N, C, H, W) in the type of the images.
static Tensor image_augment_backward(const Tensor& grad, const Tensor& images, const Tensor& params, Integers codes,
                                     Floats settings, Floats std) {
  check(images.dim() == 4 && here(images), "image_augment_backward: images must be (N, C, H, W)");
  const int64_t rows = images.size(0), channels = images.size(1), height = images.size(2), width = images.size(3);
  check(channels >= 1 && channels <= kMaxChannels, "image_augment_backward: images must have 1 to 32 channels");
  for (const int64_t side : {height, width}) {
    check(side >= 1 && side <= 1 << 24, "image_augment_backward: height and width must be in [1, 2^24]");
  }
  check(grad.dim() == 4 && here(grad) && grad.scalar_type() == ScalarType::Float && grad.is_contiguous() &&
            grad.size(0) == rows && grad.size(1) == channels && grad.size(2) >= 1 && grad.size(3) >= 1,
        "image_augment_backward: grad must be contiguous float32 (N, C, h, w)");
  const auto lists = static_cast<int64_t>(settings.size()) - 3 * static_cast<int64_t>(codes.size());
  check(!codes.empty() && codes.size() <= kMaxSteps && codes[0] == kStepResample && lists >= 0 &&
            has_fills(static_cast<int64_t>(codes.size()), codes.data(), settings.data(), lists, channels),
        "image_augment_backward: steps must be 1 to 32, the first resample, with three settings each, then fills");
  check(static_cast<int64_t>(std.size()) == channels, "image_augment_backward: one std a channel");
  ImageAugmentBackward p{};
  ImageAugment& v = p.view;
  for (const int64_t code : codes) {
    check(code >= 0 && code < kStepChoice && code != kStepPosterize && code != kStepEqualize,
          "image_augment_backward: a step without a gradient");
    v.columns += step_columns(static_cast<int32_t>(code));
  }
  check(params.dim() == 3 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == rows && params.size(1) == 1 && params.size(2) == v.columns,
        "image_augment_backward: params must be contiguous float32 (N, 1, columns)");
  v.in = pixels_of(images.scalar_type());
  v.out_type = Pixels::kFloat;
  v.rows = rows;
  v.views = 1;
  v.channels = channels;
  v.image = {images.const_data_ptr(), height, width, images.stride(1), images.stride(2), images.stride(3)};
  v.row_stride = images.stride(0);
  v.params = params.const_data_ptr<float>();
  v.out_height = grad.size(2);
  v.out_width = grad.size(3);
  describe(v, static_cast<int32_t>(codes.size()), codes.data(), settings.data(), lists, Floats(channels).data(),
           std.data());
  p.grad = grad.const_data_ptr<float>();
  Tensor out = empty({rows, channels, height, width}, images.scalar_type(), images);
  p.out = out.mutable_data_ptr();
  launch([](const auto& what, auto where) { return backend::image_augment_backward(what, where); }, p, images);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("image_augment_backward", TORCH_BOX(&image_augment_backward));
}

}  // namespace sslfast::ops
