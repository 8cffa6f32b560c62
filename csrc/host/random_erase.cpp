#include "sslfast/random_erase.h"

#include <cmath>
#include <vector>

#include "images.h"

namespace sslfast::host {

static Array<float> random_erase_params(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows,
                                        int64_t height, int64_t width, double probability, std::array<double, 2> scale,
                                        std::array<double, 2> ratio, int64_t row_offset) {
  Array<float> out({rows, static_cast<int64_t>(kEraseColumns)});
  RandomEraseParams p{};
  p.draw.seed = {nullptr, seed};
  p.draw.row_ids = read_rows(sample_ids, row_offset);
  p.draw.threshold = probability_threshold(probability);
  p.draw.height = height;
  p.draw.width = width;
  p.draw.scale_low = scale[0];
  p.draw.scale_high = scale[1];
  p.draw.log_ratio_low = std::log(ratio[0]);
  p.draw.log_ratio_high = std::log(ratio[1]);
  p.rows = rows;
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  cpu::random_erase_params(p, 1);
  return out;
}

// Of (N, C, H, W), or with `last` (N, H, W, C).
static void erase_boxes(py::array x, py::array out, bool last, Array<float> params, std::vector<double> values,
                        bool noise, int threads) {
  RandomErase p{};
  p.drawn = true;
  p.from = last ? lines_of_pixels(x) : image_lines(x);
  p.to = last ? lines_of_pixels(out) : image_lines(out);
  p.params = params.mutable_data();
  p.x = x.data();
  p.out = out.mutable_data();
  p.bytes = x.itemsize() == 1;
  p.dtype = dtype_of(x);
  p.noise = noise;
  p.value_count = static_cast<int64_t>(values.size());
  for (int64_t c = 0; c < p.value_count && c < kMostEraseValues; ++c) p.values[c] = values[c];
  py::gil_scoped_release release;
  cpu::random_erase(p, threads);
}

void bind_random_erase(py::module_& m) {
  m.def("random_erase_params", &random_erase_params);
  m.def("erase_boxes", &erase_boxes);
}

}  // namespace sslfast::host
