#include "sslfast/cell_mask.h"

#include "arrays.h"

namespace sslfast::host {

static Array<bool> cell_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t stream, int64_t rows,
                             std::array<int64_t, 3> grid, std::array<int64_t, 3> cell, int64_t masked,
                             int64_t row_offset, int threads) {
  Array<bool> mask({rows, grid[0], grid[1], grid[2]});
  const CellMask params{{nullptr, seed},
                        read_rows(sample_ids, row_offset),
                        static_cast<uint32_t>(stream),
                        rows,
                        grid[0],
                        grid[1],
                        grid[2],
                        cell[0],
                        cell[1],
                        cell[2],
                        masked,
                        mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::cell_mask(params, threads);
  }
  return mask;
}

void bind_cell_mask(py::module_& m) { m.def("cell_mask", &cell_mask); }

}  // namespace sslfast::host
