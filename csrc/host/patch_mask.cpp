#include "sslfast/patch_mask.h"

#include "arrays.h"

namespace sslfast::host {

static py::tuple patch_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t patches,
                            int64_t keep, int64_t row_offset, int threads) {
  Array<int64_t> ids_keep({rows, keep}), ids_restore({rows, patches});
  Array<bool> mask({rows, patches});
  const PatchMask params{{nullptr, seed},
                         read_rows(sample_ids, row_offset),
                         rows,
                         patches,
                         keep,
                         ids_keep.mutable_data(),
                         ids_restore.mutable_data(),
                         mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::patch_mask(params, threads);
  }
  return py::make_tuple(ids_keep, ids_restore, mask);
}

void bind_patch_mask(py::module_& m) { m.def("patch_mask", &patch_mask); }

}  // namespace sslfast::host
