#include "sslfast/feature_corruption.h"

#include "arrays.h"

namespace sslfast::host {

// Arrays of any type whose elements lie whole strides apart: sslfast/host checks that.
static Array<bool> feature_corruption(const py::array& x, const py::array& bank, py::array& out, uint64_t seed,
                                      const std::optional<Array<int64_t>>& sample_ids, bool exact, int64_t count,
                                      double probability, int64_t source, bool changed, uint64_t infinity,
                                      int64_t row_offset, int threads) {
  FeatureCorruption p{};
  p.rows = x.shape(0);
  p.features = x.shape(1);
  p.bank_rows = bank.shape(0);
  Array<bool> mask({p.rows, p.features});
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.exact = exact;
  p.count = count;
  p.threshold = probability_threshold(probability);
  p.source = static_cast<FeatureSource>(source);
  p.element_size = x.itemsize();
  p.dtype = p.element_size == 2 ? Dtype::kFloat16 : p.element_size == 4 ? Dtype::kFloat32 : Dtype::kFloat64;
  p.changed = changed;
  p.infinity = infinity;
  p.x = x.data();
  p.x_row_stride = x.strides(0) / p.element_size;
  p.x_stride = x.strides(1) / p.element_size;
  p.bank = bank.data();
  p.bank_row_stride = bank.strides(0) / p.element_size;
  p.bank_stride = bank.strides(1) / p.element_size;
  p.out = out.mutable_data();
  p.mask = mask.mutable_data();
  py::gil_scoped_release release;
  cpu::feature_corruption(p, threads);
  return mask;
}

void bind_feature_corruption(py::module_& m) { m.def("feature_corruption", &feature_corruption); }

}  // namespace sslfast::host
