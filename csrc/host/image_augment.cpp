#include "sslfast/image_augment.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

using Floats = std::vector<double>;
using Integers = std::vector<int64_t>;

// sslfast/host/_images.py has checked types, shapes and strides, and sslfast/host/_plan_text.py plans from elsewhere.
static Array<float> image_augment_params(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t row_offset,
                                         int64_t rows, int64_t views, int64_t first_view,
                                         std::optional<Array<int64_t>> sizes, int64_t height, int64_t width,
                                         const Integers& codes, const Floats& rules, int threads) {
  if (codes.size() > kMaxSteps || rules.size() > kMaxRules) {
    throw py::value_error("image_augment_params: at most 32 steps and 320 rules");
  }
  ImageAugmentParams p{};
  p.seed = {nullptr, seed};
  p.numbers = read_rows(sample_ids, row_offset);
  p.rows = rows;
  p.views = views;
  p.first_view = first_view;
  p.height = height;
  p.width = width;
  p.sizes = sizes ? sizes->data() : nullptr;
  p.steps = static_cast<int32_t>(codes.size());
  for (size_t s = 0; s < codes.size(); ++s) {
    p.codes[s] = static_cast<int32_t>(codes[s]);
    p.columns += step_columns(p.codes[s]);
  }
  for (size_t k = 0; k < rules.size(); ++k) p.rules[k] = rules[k];
  Array<float> out({rows, views, p.columns});
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  cpu::image_augment_params(p, threads);
  return out;
}

static Pixels pixels_of(const py::array& x) {
  return x.itemsize() == 1 ? Pixels::kUint8 : x.itemsize() == 4 ? Pixels::kFloat : Pixels::kHalf;
}

// One image of an array whose last three dimensions are (C, H, W), or (H, W, C).
static Image read_image(const py::array& x, bool channels_last) {
  const py::ssize_t first = x.ndim() - 3, h = first + (channels_last ? 0 : 1), c = first + (channels_last ? 2 : 0);
  const py::ssize_t size = x.itemsize();
  return {x.data(), x.shape(h), x.shape(h + 1), x.strides(c) / size, x.strides(h) / size, x.strides(h + 1) / size};
}

// Writes the views (V, N, C, H, W), or (V, N, H, W, C) with the channels last, contiguous, of one batch or of N images.
static void image_augment(const std::vector<py::array>& images, bool batch, bool channels_last, Array<float> params,
                          const Integers& codes, const Floats& settings, const Floats& mean, const Floats& std,
                          py::array out, bool out_channels_last, int threads) {
  ImageAugment p{};
  p.rows = params.shape(0);
  p.views = params.shape(1);
  p.columns = params.shape(2);
  p.params = params.data();
  p.channels = static_cast<int64_t>(mean.size());
  p.in = pixels_of(images[0]);
  p.image = read_image(images[0], channels_last);
  std::vector<Image> list;
  if (batch) {
    p.row_stride = images[0].strides(0) / images[0].itemsize();
  } else {
    for (const py::array& image : images) list.push_back(read_image(image, channels_last));
    p.images = list.data();
  }
  p.out_type = pixels_of(out);
  p.out_height = out.shape(out_channels_last ? 2 : 3);
  p.out_width = out.shape(out_channels_last ? 3 : 4);
  p.channels_last = out_channels_last && p.channels > 1;
  p.out = out.mutable_data();
  const auto lists = static_cast<int64_t>(settings.size()) - 3 * static_cast<int64_t>(codes.size());
  if (!has_fills(static_cast<int64_t>(codes.size()), codes.data(), settings.data(), lists, p.channels)) {
    throw py::value_error("image_augment: three settings a step, then fills, a number per channel each");
  }
  describe(p, static_cast<int32_t>(codes.size()), codes.data(), settings.data(), lists, mean.data(), std.data());
  py::gil_scoped_release release;
  cpu::image_augment(p, threads);
}

void bind_image_augment(py::module_& m) {
  m.def("image_augment_params", &image_augment_params);
  m.def("image_augment", &image_augment);
}

}  // namespace sslfast::host
