#include "sslfast/feature_noise.h"

#include "arrays.h"

namespace sslfast::host {

// x is float16, float32 or float64 and factors of the type of its sums, contiguous: sslfast/host has seen to it.
static py::array feature_noise(const py::array& x, const std::optional<py::array>& factors, uint64_t seed,
                               std::optional<Array<int64_t>> sample_ids, double scale, double probability,
                               bool gaussian, int64_t row_offset, int threads) {
  const int64_t size = x.itemsize();
  py::array out(x.dtype(), std::array<py::ssize_t, 2>{x.shape(0), x.shape(1)});
  FeatureNoise p{};
  p.x = x.data();
  p.rows = x.shape(0);
  p.features = x.shape(1);
  p.row_stride = x.strides(0) / size;
  p.stride = x.strides(1) / size;
  p.dtype = size == 2 ? Dtype::kFloat16 : size == 4 ? Dtype::kFloat32 : Dtype::kFloat64;
  p.factors = factors ? factors->data() : nullptr;
  p.scale = scale;
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.threshold = probability_threshold(probability);
  p.gaussian = gaussian;
  p.out = out.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::feature_noise(p, threads);
  }
  return out;
}

void bind_feature_noise(py::module_& m) { m.def("feature_noise", &feature_noise); }

}  // namespace sslfast::host
