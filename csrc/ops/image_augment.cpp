#include "sslfast/image_augment.h"

#include <optional>
#include <vector>

#include "tensor.h"

namespace sslfast::ops {

using Floats = std::vector<double>;
using Integers = std::vector<int64_t>;
using Tensors = std::vector<Tensor>;

static int64_t count_columns(const Integers& codes) {
  check(!codes.empty() && static_cast<int64_t>(codes.size()) <= kMaxSteps && codes[0] == kStepResample,
        "image_augment: steps must be 1 to 32, the first resample");
  int64_t columns = 0;
  for (const int64_t code : codes) {
    check(code >= 0 && code < kStepCodes, "image_augment: unknown step");
    columns += step_columns(static_cast<int32_t>(code));
  }
  return columns;
}

static bool is_side(int64_t n) { return n >= 1 && n <= 1 << 24; }

static Tensor image_augment_params(const Tensor& like, const Tensor& seed, std::optional<Tensor> sample_ids,
                                   int64_t row_offset, int64_t rows, int64_t views, int64_t first_view,
                                   std::optional<Tensor> sizes, int64_t height, int64_t width, Integers codes,
                                   Floats rules) {
  check(rows >= 0 && views >= 1 && first_view >= 0 && first_view + views <= int64_t{1} << 22,
        "image_augment_params: rows or views out of range");
  check(is_side(height) && is_side(width), "image_augment_params: height and width must be in [1, 2^24]");
  ImageAugmentParams p{};
  p.columns = count_columns(codes);
  check(rules.size() >= 13 && rules.size() <= kMaxRules, "image_augment_params: 13 to 320 rules");
  if (sizes) {
    check(sizes->scalar_type() == ScalarType::Long && sizes->is_contiguous() && here(*sizes) &&
              sizes->numel() == 2 * rows,
          "image_augment_params: sizes must be contiguous int64 (N, 2), on the device of the data");
    p.sizes = sizes->const_data_ptr<int64_t>();
  }
  Tensor out = empty({rows, views, p.columns}, ScalarType::Float, like);
  p.seed = read_seed(seed);
  p.numbers = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.views = views;
  p.first_view = first_view;
  p.height = height;
  p.width = width;
  p.steps = static_cast<int32_t>(codes.size());
  for (size_t s = 0; s < codes.size(); ++s) p.codes[s] = static_cast<int32_t>(codes[s]);
  for (size_t k = 0; k < rules.size(); ++k) p.rules[k] = rules[k];
  p.out = out.mutable_data_ptr<float>();
  launch([](const auto& params, auto where) { return backend::image_augment_params(params, where); }, p, like);
  return out;
}

static Pixels pixels_of(ScalarType type) {
  switch (type) {
    case ScalarType::Byte:
      return Pixels::kUint8;
    case ScalarType::Float:
      return Pixels::kFloat;
    case ScalarType::BFloat16:
      return Pixels::kBFloat16;
    default:
      check(type == ScalarType::Half, "image_augment: pixels must be uint8, float32, bfloat16 or float16");
      return Pixels::kHalf;
  }
}

static Image read_image(const Tensor& image, int64_t first) {
  check(is_side(image.size(first + 1)) && is_side(image.size(first + 2)),
        "image_augment: height and width must be in [1, 2^24]");
  return {image.const_data_ptr(), image.size(first + 1),   image.size(first + 2),
          image.stride(first),    image.stride(first + 1), image.stride(first + 2)};
}

// Writes the views (V, N, C, H, W), contiguous or with the channels last, of one batch (N, C, H, W), or of N images
// (C, H, W) that may differ in size. `table` is int64 (N, 6) on the GPU, the images by address; unused on the CPU.
static void run(const Tensors& images, const Tensor& params, const std::optional<Tensor>& table, const Integers& codes,
                const Floats& settings, const Floats& mean, const Floats& std, Tensor& out) {
  check(!images.empty(), "image_augment: no images");
  const bool batch = images[0].dim() == 4;
  const int64_t channels = images[0].size(batch ? 1 : 0);
  const auto lists = static_cast<int64_t>(settings.size()) - 3 * static_cast<int64_t>(codes.size());
  ImageAugment p{};
  p.in = pixels_of(images[0].scalar_type());
  p.rows = batch ? images[0].size(0) : static_cast<int64_t>(images.size());
  p.channels = channels;
  p.columns = count_columns(codes);
  check(channels >= 1 && channels <= kMaxChannels, "image_augment: images must have 1 to 32 channels");
  check(params.dim() == 3 && here(params) && params.scalar_type() == ScalarType::Float && params.is_contiguous() &&
            params.size(0) == p.rows && params.size(2) == p.columns,
        "image_augment: params must be contiguous float32 (N, V, columns)");
  p.views = params.size(1);
  check(out.dim() == 5 && here(out) && out.size(0) == p.views && out.size(1) == p.rows && out.size(2) == channels &&
            is_side(out.size(3)) && is_side(out.size(4)),
        "image_augment: out must have shape (V, N, C, H, W)");
  check(settings.size() >= 3 * codes.size() &&
            has_fills(static_cast<int64_t>(codes.size()), codes.data(), settings.data(), lists, channels),
        "image_augment: three settings a step, then fills, a number per channel each");
  check(static_cast<int64_t>(mean.size()) == channels && static_cast<int64_t>(std.size()) == channels,
        "image_augment: mean and std must have one number per channel");

  std::vector<Image> list;
  if (batch) {
    check(images.size() == 1 && here(images[0]), "image_augment: one batch, or a list of images");
    p.image = read_image(images[0], 1);
    p.row_stride = images[0].stride(0);
  } else {
    for (const Tensor& image : images) {
      check(image.dim() == 3 && here(image) && image.size(0) == channels &&
                image.scalar_type() == images[0].scalar_type(),
            "image_augment: images must be (C, H, W), alike in C, dtype and device");
      list.push_back(read_image(image, 0));
    }
    p.images = list.data();
#ifdef SSLFAST_WITH_CUDA
    static_assert(sizeof(Image) == 6 * sizeof(int64_t));
    check(table && here(*table) && table->scalar_type() == ScalarType::Long && table->is_contiguous() &&
              table->numel() == 6 * p.rows,
          "image_augment: table must be contiguous int64 (N, 6)");
    p.images = reinterpret_cast<const Image*>(table->const_data_ptr<int64_t>());
#endif
  }
  (void)table;
  p.params = params.const_data_ptr<float>();
  p.out_type = pixels_of(out.scalar_type());
  p.out_height = out.size(3);
  p.out_width = out.size(4);
  describe(p, static_cast<int32_t>(codes.size()), codes.data(), settings.data(), lists, mean.data(), std.data());
  p.channels_last = !out.is_contiguous() && channels > 1;
  check(p.channels_last
            ? out.stride(2) == 1 && out.stride(4) == channels && out.stride(3) == channels * p.out_width &&
                  out.stride(1) == channels * p.out_width * p.out_height && out.stride(0) == out.stride(1) * p.rows
            : out.is_contiguous(),
        "image_augment: out must be contiguous, or dense with the channels last");
  p.out = out.mutable_data_ptr();
#ifdef SSLFAST_WITH_CUDA
  const torch::stable::accelerator::DeviceGuard guard(out.get_device_index());  // whose multiprocessors count
  Tensor scratch = empty({cuda::image_augment_scratch(p)}, ScalarType::Byte, out);
  p.scratch = scratch.mutable_data_ptr();
#endif
  launch([](const auto& what, auto where) { return backend::image_augment(what, where); }, p, out);
}

static void image_augment_out(Tensors images, const Tensor& params, std::optional<Tensor> table, Integers codes,
                              Floats settings, Floats mean, Floats std, Tensor out) {
  run(images, params, table, codes, settings, mean, std, out);
}

static Tensor image_augment(Tensors images, const Tensor& params, std::optional<Tensor> table, Integers codes,
                            Floats settings, int64_t height, int64_t width, Floats mean, Floats std, ScalarType dtype,
                            bool channels_last) {
  check(!images.empty() && params.dim() == 3, "image_augment: no images, or params not (N, V, columns)");
  const bool batch = images[0].dim() == 4;
  const int64_t rows = batch ? images[0].size(0) : static_cast<int64_t>(images.size());
  const int64_t channels = images[0].size(batch ? 1 : 0), views = params.size(1);
  const int64_t image = channels * height * width;
  const int64_t last[] = {rows * image, image, 1, channels * width, channels};
  const std::initializer_list<int64_t> sizes = {views, rows, channels, height, width};
  Tensor out = channels_last ? empty_strided(sizes, last, dtype, params) : empty(sizes, dtype, params);
  run(images, params, table, codes, settings, mean, std, out);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("image_augment_params", TORCH_BOX(&image_augment_params));
  m.impl("image_augment", TORCH_BOX(&image_augment));
  m.impl("image_augment_out", TORCH_BOX(&image_augment_out));
}

}  // namespace sslfast::ops
