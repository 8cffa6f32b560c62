#include "sslfast/patch_mask.h"

#include "arrays.h"

namespace sslfast::host {

static py::tuple patch_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t patches,
                            int64_t keep, int64_t row_offset, int64_t prefix, bool ascending,
                            std::optional<py::array> noise, int threads) {
  Array<int64_t> ids_keep({rows, prefix + keep}), ids_restore({rows, prefix + patches});
  Array<bool> mask({rows, prefix + patches});
  PatchMask params{};
  params.seed = {nullptr, seed};
  params.row_ids = read_rows(sample_ids, row_offset);
  params.rows = rows;
  params.patches = patches;
  params.keep = keep;
  params.prefix = prefix;
  params.ascending = ascending;
  if (noise) {  // contiguous float32 or float64
    params.noise = noise->data();
    params.noise_is_double = noise->itemsize() == 8;
    params.noise_row_stride = patches;
    params.noise_stride = 1;
  }
  params.ids_keep = ids_keep.mutable_data();
  params.ids_restore = ids_restore.mutable_data();
  params.mask = mask.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::patch_mask(params, threads);
  }
  return py::make_tuple(ids_keep, ids_restore, mask);
}

void bind_patch_mask(py::module_& m) { m.def("patch_mask", &patch_mask); }

}  // namespace sslfast::host
