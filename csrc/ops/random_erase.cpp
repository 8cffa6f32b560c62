#include "sslfast/random_erase.h"

#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "image_lines.h"

namespace sslfast::ops {

using Floats = std::vector<double>;

static EraseDraw read_draw(const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t rows, int64_t height,
                           int64_t width, double probability, const Floats& scale, const Floats& ratio,
                           int64_t row_offset) {
  check(height >= 1 && width >= 1 && height <= 1 << 24 && width <= 1 << 24,
        "random_erase: height and width must be in [1, 2^24]");
  check(probability >= 0 && probability <= 1, "random_erase: p must be in [0, 1]");
  check(scale.size() == 2 && 0 <= scale[0] && scale[0] <= scale[1] && scale[1] <= 1 && ratio.size() == 2 &&
            0 < ratio[0] && ratio[0] <= ratio[1],
        "random_erase: scale and ratio must be (low, high)");
  EraseDraw draw{};
  draw.seed = read_seed(seed);
  draw.row_ids = read_rows(sample_ids, row_offset, rows);
  draw.threshold = probability_threshold(probability);
  draw.height = height;
  draw.width = width;
  draw.scale_low = scale[0];
  draw.scale_high = scale[1];
  draw.log_ratio_low = std::log(ratio[0]);
  draw.log_ratio_high = std::log(ratio[1]);
  return draw;
}

static Tensor random_erase_params(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                                  int64_t rows, int64_t height, int64_t width, double probability, Floats scale,
                                  Floats ratio, int64_t row_offset) {
  check(rows >= 0, "random_erase_params: rows must be at least 0");
  Tensor out = empty({rows, kEraseColumns}, ScalarType::Float, like);
  RandomEraseParams p{};
  p.draw = read_draw(seed, sample_ids, rows, height, width, probability, scale, ratio, row_offset);
  p.rows = rows;
  p.out = out.mutable_data_ptr<float>();
  launch([](const RandomEraseParams& params, auto where) { return backend::random_erase_params(params, where); }, p,
         like);
  return out;
}

static void run(RandomErase& p, const Tensor& x, const Tensor& out, const Tensor& params, const Floats& values,
                bool noise) {
  check(params.dim() == 2 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == x.size(0) && params.size(1) == kEraseColumns,
        "random_erase: params must be contiguous float32 (N, 6)");
  p.from = image_lines(x);
  p.to = image_lines(out);
  const int64_t channels = x.size(1), count = static_cast<int64_t>(values.size());
  check(count == 1 || (count == channels && count <= kMostEraseValues),
        "random_erase: one value, or one per channel, of at most 64");
  check(!noise || channels * x.size(2) * ((x.size(3) + 3) / 4) <= int64_t{1} << 32,
        "random_erase: noise for images of at most 2^34 values");
  p.params = params.mutable_data_ptr<float>();
  p.x = x.const_data_ptr();
  p.out = out.mutable_data_ptr();
  p.bytes = x.scalar_type() == ScalarType::Byte;
  if (!p.bytes) p.dtype = read_dtype(x.scalar_type());
  check(!p.bytes || !noise, "random_erase: noise for floating-point images alone");
  p.noise = noise;
  p.value_count = count;
  for (int64_t c = 0; c < count; ++c) p.values[c] = values[c];
  launch([](const RandomErase& params_, auto where) { return backend::random_erase(params_, where); }, p, x);
}

static Tensor draw_and_run(const Tensor& x, const Tensor& out, const Tensor& seed,
                           const std::optional<Tensor>& sample_ids, const Floats& values, bool noise,
                           double probability, const Floats& scale, const Floats& ratio, int64_t row_offset) {
  Tensor params = empty({x.size(0), kEraseColumns}, ScalarType::Float, x);
  RandomErase p{};
  p.draw = read_draw(seed, sample_ids, x.size(0), x.size(2), x.size(3), probability, scale, ratio, row_offset);
  run(p, x, out, params, values, noise);
  return params;
}

static std::tuple<Tensor, Tensor> random_erase(const Tensor& x, const Tensor& seed,
                                               const std::optional<Tensor>& sample_ids, Floats values, bool noise,
                                               double probability, Floats scale, Floats ratio, int64_t row_offset) {
  Tensor out = empty_images(x);
  Tensor params = draw_and_run(x, out, seed, sample_ids, values, noise, probability, scale, ratio, row_offset);
  return {out, params};
}

static Tensor random_erase_(const Tensor& x, const Tensor& seed, const std::optional<Tensor>& sample_ids, Floats values,
                            bool noise, double probability, Floats scale, Floats ratio, int64_t row_offset) {
  image_lines(x);
  return draw_and_run(x, x, seed, sample_ids, values, noise, probability, scale, ratio, row_offset);
}

static void erase(const Tensor& x, const Tensor& out, const Tensor& params, const Floats& values, bool noise) {
  RandomErase p{};
  p.drawn = true;
  run(p, x, out, params, values, noise);
}

static Tensor erase_boxes(const Tensor& x, const Tensor& params, Floats values, bool noise) {
  Tensor out = empty_images(x);
  erase(x, out, params, values, noise);
  return out;
}

static void erase_boxes_(const Tensor& x, const Tensor& params, Floats values, bool noise) {
  image_lines(x);
  erase(x, x, params, values, noise);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("random_erase_params", TORCH_BOX(&random_erase_params));
  m.impl("random_erase", TORCH_BOX(&random_erase));
  m.impl("random_erase_", TORCH_BOX(&random_erase_));
  m.impl("erase_boxes", TORCH_BOX(&erase_boxes));
  m.impl("erase_boxes_", TORCH_BOX(&erase_boxes_));
}

}  // namespace sslfast::ops
