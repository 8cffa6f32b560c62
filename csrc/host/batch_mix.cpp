#include "sslfast/batch_mix.h"

#include "images.h"

namespace sslfast::host {

static Array<float> batch_mix_params(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows,
                                     int64_t height, int64_t width, int64_t mode, int64_t partner, double blend_alpha,
                                     double box_alpha, double probability, double box_probability, int64_t box,
                                     double side_low, double side_high, bool area_lambda, int64_t row_offset) {
  Array<float> out({rows, static_cast<int64_t>(kMixColumns)});
  BatchMixParams p{};
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
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
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  cpu::batch_mix_params(p, 1);
  return out;
}

// False: in place, where partners are no permutation.
static bool batch_mix(py::array x, py::array out, Array<float> params, int threads) {
  BatchMix p{};
  p.from = image_lines(x);
  p.to = image_lines(out);
  p.x = x.data();
  p.out = out.mutable_data();
  p.bytes = x.itemsize() == 1;
  p.dtype = dtype_of(x);
  p.params = params.data();
  py::gil_scoped_release release;
  return cpu::batch_mix(p, threads);
}

void bind_batch_mix(py::module_& m) {
  m.def("batch_mix_params", &batch_mix_params);
  m.def("batch_mix", &batch_mix);
}

}  // namespace sslfast::host
