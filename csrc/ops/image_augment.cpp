#include "sslfast/image_augment.h"

#include <cmath>
#include <vector>

#include "tensor.h"

namespace sslfast::ops {

using Floats = std::vector<double>;

static Tensor image_augment_params(const Tensor& like, const Tensor& seed, int64_t rows, int64_t views, int64_t height,
                                   int64_t width, Floats scale, Floats ratio, double hflip_prob, double jitter_prob,
                                   Floats jitter, double gray_prob, int64_t row_offset) {
  check(rows >= 0 && views >= 1 && views <= int64_t{1} << 26, "image_augment_params: rows or views out of range");
  check(height >= 1 && width >= 1 && height <= 1 << 24 && width <= 1 << 24,
        "image_augment_params: height and width must be in [1, 2^24]");
  check(scale.size() == 2 && ratio.size() == 2 && jitter.size() == 8,
        "image_augment_params: scale and ratio are (low, high), jitter four times that");
  check(ratio[0] > 0 && ratio[0] <= ratio[1], "image_augment_params: ratio must be positive and ascending");
  Tensor out = empty({rows, views, kViewColumns}, ScalarType::Float, like);
  ImageAugmentParams p{};
  p.seed = read_seed(seed);
  p.row_offset = row_offset;
  p.rows = rows;
  p.views = views;
  p.height = height;
  p.width = width;
  p.scale = {scale[0], scale[1]};
  p.ratio = {ratio[0], ratio[1]};
  p.log_ratio = {std::log(ratio[0]), std::log(ratio[1])};
  for (int k = 0; k < 4; ++k) p.jitter[k] = {jitter[2 * k], jitter[2 * k + 1]};
  p.flip_threshold = probability_threshold(hflip_prob);
  p.jitter_threshold = probability_threshold(jitter_prob);
  p.gray_threshold = probability_threshold(gray_prob);
  p.out = out.mutable_data_ptr<float>();
  launch([](const auto& params, auto where) { return backend::image_augment_params(params, where); }, p, like);
  return out;
}

template <typename Out>
static Tensor run(const Tensor& images, const Tensor& params, int64_t out_height, int64_t out_width, const Floats& mean,
                  const Floats& std, ScalarType dtype) {
  const int64_t rows = images.size(0), channels = images.size(1), views = params.size(1);
  Tensor out = empty({views, rows, channels, out_height, out_width}, dtype, images);
  ImageAugment<Out> p{};
  p.images = images.const_data_ptr<uint8_t>();
  p.row_stride = images.stride(0);
  p.channel_stride = images.stride(1);
  p.height_stride = images.stride(2);
  p.width_stride = images.stride(3);
  p.rows = rows;
  p.views = views;
  p.channels = channels;
  p.height = images.size(2);
  p.width = images.size(3);
  p.params = params.const_data_ptr<float>();
  p.out_height = out_height;
  p.out_width = out_width;
  for (int64_t c = 0; c < channels; ++c) {
    p.gain[c] = static_cast<float>(1 / std[c]);
    p.offset[c] = static_cast<float>(-mean[c] / std[c]);
  }
  p.out = static_cast<Out*>(out.mutable_data_ptr());
#ifdef SSLFAST_WITH_CUDA
  Tensor sums = empty({views * rows, cuda::contrast_parts(out_height)}, ScalarType::Double, images);
  p.sums = sums.mutable_data_ptr<double>();
#endif
  launch([](const auto& what, auto where) { return backend::image_augment(what, where); }, p, images);
  return out;
}

static Tensor image_augment(const Tensor& images, const Tensor& params, int64_t out_height, int64_t out_width,
                            Floats mean, Floats std, ScalarType dtype) {
  check(images.dim() == 4 && here(images) && images.scalar_type() == ScalarType::Byte,
        "image_augment: images must be uint8 (N, C, H, W)");
  const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  check(channels == 1 || channels == 3, "image_augment: images must have 1 or 3 channels");
  check(height >= 1 && width >= 1 && height <= 1 << 24 && width <= 1 << 24,
        "image_augment: height and width must be in [1, 2^24]");
  check(params.dim() == 3 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == images.size(0) && params.size(2) == kViewColumns,
        "image_augment: params must be contiguous float32 (N, V, 12)");
  check(out_height >= 1 && out_width >= 1 && out_height <= 1 << 24 && out_width <= 1 << 24,
        "image_augment: size must be in [1, 2^24]");
  check(static_cast<int64_t>(mean.size()) == channels && static_cast<int64_t>(std.size()) == channels,
        "image_augment: mean and std must have one number per channel");
  check(dtype == ScalarType::Float || dtype == ScalarType::BFloat16,
        "image_augment: dtype must be float32 or bfloat16");
  return (dtype == ScalarType::Float ? run<float> : run<BFloat16>)(images, params, out_height, out_width, mean, std,
                                                                   dtype);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("image_augment_params", TORCH_BOX(&image_augment_params));
  m.impl("image_augment", TORCH_BOX(&image_augment));
}

}  // namespace sslfast::ops
