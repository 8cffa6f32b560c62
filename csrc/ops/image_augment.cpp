#include "sslfast/image_augment.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "dtype.h"
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

// Five numbers a box: the probability that it is there, the lower and upper bound of its scale, and of its ratio.
static void read_rules(const Floats& erases, ImageAugmentParams& p) {
  check(erases.size() % 5 == 0 && erases.size() <= 5 * kMaxErases, "image_augment_params: five numbers a box, of 16");
  for (auto rule = erases.begin(); rule != erases.end(); rule += 5) {
    check(0 <= rule[0] && rule[0] <= 1 && 0 <= rule[1] && rule[1] <= rule[2] && rule[2] <= 1 && 0 < rule[3] &&
              rule[3] <= rule[4],
          "image_augment_params: p, scale and ratio of a box must be in range");
    p.erase[p.erases++] = {probability_threshold(rule[0]), rule[1], rule[2], std::log(rule[3]), std::log(rule[4])};
  }
}

static Tensor image_augment_params(const Tensor& like, const Tensor& seed, std::optional<Tensor> sample_ids,
                                   int64_t row_offset, int64_t rows, int64_t views, int64_t first_view,
                                   std::optional<Tensor> sizes, int64_t height, int64_t width, Integers codes,
                                   Floats rules, Floats erases) {
  check(rows >= 0 && views >= 1 && first_view >= 0 && first_view + views <= int64_t{1} << 22,
        "image_augment_params: rows or views out of range");
  check(is_side(height) && is_side(width), "image_augment_params: height and width must be in [1, 2^24]");
  ImageAugmentParams p{};
  read_rules(erases, p);
  p.columns = count_columns(codes) + p.erases * kEraseColumns;
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

// Of each box whether it is filled with noise, how many values it has instead, one or one per channel, and these. There
// is always one.
static void read_erases(const Floats& erases, ImageAugment& p) {
  size_t used = 0;
  int32_t values = 0;
  while (used < erases.size()) {
    const int64_t count = used + 2 < erases.size() ? static_cast<int64_t>(erases[used + 1]) : 0;
    check(p.erases < kMaxErases && (count == 1 || count == p.channels) && values + count <= kMaxErased &&
              used + 2 + static_cast<size_t>(count) <= erases.size(),
          "image_augment: erases must be (noise, count, values) each, of at most 64 values");
    auto& one = p.erase[p.erases++];
    one.noise = erases[used] != 0;
    one.first = values;
    one.count = static_cast<int32_t>(count);
    check(!one.noise ||
              (p.out_type != Pixels::kUint8 && p.channels * p.out_height * ((p.out_width + 3) / 4) <= int64_t{1} << 32),
          "image_augment: noise for floating-point views of at most 2^34 values");
    for (int64_t k = 0; k < count; ++k) p.erased[values++] = static_cast<float>(erases[used + 2 + k]);
    used += 2 + static_cast<size_t>(count);
  }
}

#ifndef SSLFAST_WITH_CUDA
// Boxes are a small part of what was made, and its lines are what the CPU's kernel of them knows.
static void erase_boxes(const ImageAugment& p, const Tensor& out) {
  const int64_t rows = p.views * p.rows, plane = p.out_height * p.out_width, image = p.channels * plane;
  const int64_t unit = p.channels_last ? p.channels : 1, line = p.out_width * unit;
  std::vector<float> params(static_cast<size_t>(rows) * kEraseColumns);
  for (int32_t e = 0; e < p.erases; ++e) {
    for (int64_t r = 0; r < rows; ++r) {
      const float* end = p.params + (r % p.rows * p.views + r / p.rows + 1) * p.columns;
      std::copy_n(end - (p.erases - e) * kEraseColumns, kEraseColumns, params.data() + r * kEraseColumns);
    }
    RandomErase b{};
    b.drawn = true;
    b.params = params.data();
    b.from = b.to = {rows, p.channels / unit, p.out_height, line, unit, image, plane, line};
    b.x = b.out = p.out;
    b.bytes = p.out_type == Pixels::kUint8;
    if (!b.bytes) b.dtype = read_dtype(out.scalar_type());
    b.noise = p.erase[e].noise;
    b.value_count = p.erase[e].count;
    std::copy_n(p.erased + p.erase[e].first, b.value_count, b.values);
    launch([](const RandomErase& what, auto where) { cpu::random_erase(what, where); }, b, out);
  }
}
#endif

// Writes the views (V, N, C, H, W), contiguous or with the channels last, of one batch (N, C, H, W), or of N images
// (C, H, W) that may differ in size. `table` is int64 (N, 6) on the GPU, the images by address; unused on the CPU.
static void run(const Tensors& images, const Tensor& params, const std::optional<Tensor>& table, const Integers& codes,
                const Floats& settings, const Floats& mean, const Floats& std, const Floats& erases, Tensor& out) {
  check(!images.empty(), "image_augment: no images");
  const bool batch = images[0].dim() == 4;
  const int64_t channels = images[0].size(batch ? 1 : 0);
  const auto lists = static_cast<int64_t>(settings.size()) - 3 * static_cast<int64_t>(codes.size());
  ImageAugment p{};
  p.in = pixels_of(images[0].scalar_type());
  p.rows = batch ? images[0].size(0) : static_cast<int64_t>(images.size());
  p.channels = channels;
  check(channels >= 1 && channels <= kMaxChannels, "image_augment: images must have 1 to 32 channels");
  p.out_type = pixels_of(out.scalar_type());
  p.out_height = out.dim() == 5 ? out.size(3) : 0;
  p.out_width = out.dim() == 5 ? out.size(4) : 0;
  read_erases(erases, p);
  p.columns = count_columns(codes) + p.erases * kEraseColumns;
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
#ifndef SSLFAST_WITH_CUDA
  erase_boxes(p, out);
#endif
}

static void image_augment_out(Tensors images, const Tensor& params, std::optional<Tensor> table, Integers codes,
                              Floats settings, Floats mean, Floats std, Tensor out, Floats erases) {
  run(images, params, table, codes, settings, mean, std, erases, out);
}

static Tensor image_augment(Tensors images, const Tensor& params, std::optional<Tensor> table, Integers codes,
                            Floats settings, int64_t height, int64_t width, Floats mean, Floats std, ScalarType dtype,
                            bool channels_last, Floats erases) {
  check(!images.empty() && params.dim() == 3, "image_augment: no images, or params not (N, V, columns)");
  const bool batch = images[0].dim() == 4;
  const int64_t rows = batch ? images[0].size(0) : static_cast<int64_t>(images.size());
  const int64_t channels = images[0].size(batch ? 1 : 0), views = params.size(1);
  const int64_t image = channels * height * width;
  const int64_t last[] = {rows * image, image, 1, channels * width, channels};
  const std::initializer_list<int64_t> sizes = {views, rows, channels, height, width};
  Tensor out = channels_last ? empty_strided(sizes, last, dtype, params) : empty(sizes, dtype, params);
  run(images, params, table, codes, settings, mean, std, erases, out);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("image_augment_params", TORCH_BOX(&image_augment_params));
  m.impl("image_augment", TORCH_BOX(&image_augment));
  m.impl("image_augment_out", TORCH_BOX(&image_augment_out));
}

}  // namespace sslfast::ops
