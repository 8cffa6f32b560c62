#include "sslfast/mask_indices.h"

#include "arrays.h"

namespace sslfast::host {

static py::tuple mask_indices(py::array_t<bool> mask, int threads) {
  MaskIndices p{};
  p.rows = mask.shape(0);
  p.length = mask.shape(1);
  Array<int64_t> indices(p.rows * p.length), counts(p.rows);
  p.mask = mask.data();
  p.row_stride = mask.strides(0);
  p.stride = mask.strides(1);
  p.indices = indices.mutable_data();
  p.counts = counts.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::mask_indices(p, threads);
  }
  return py::make_tuple(indices, counts);
}

void bind_mask_indices(py::module_& m) { m.def("mask_indices", &mask_indices); }

}  // namespace sslfast::host
