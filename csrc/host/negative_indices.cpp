#include "sslfast/negative_indices.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

template <typename Index>
static Array<Index> run(const py::array_t<bool>& mask, uint64_t seed, const std::optional<Array<int64_t>>& sample_ids,
                        int64_t negatives, int64_t row_offset, int threads) {
  NegativeIndices<Index> p{};
  p.rows = mask.shape(0);
  p.length = mask.shape(1);
  Array<Index> out({p.rows, p.length, negatives});
  p.mask = mask.data();
  p.row_stride = mask.strides(0);
  p.stride = mask.strides(1);
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.negatives = negatives;
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  std::vector<int32_t> frames(p.rows * p.length);
  std::vector<int64_t> counts(p.rows);
  p.frames = frames.data();
  p.counts = counts.data();
  cpu::negative_indices(p, threads);
  return out;
}

static py::array negative_indices(py::array_t<bool> mask, uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                                  int64_t negatives, bool wide, int64_t row_offset, int threads) {
  if (wide) return run<int64_t>(mask, seed, sample_ids, negatives, row_offset, threads);
  return run<int32_t>(mask, seed, sample_ids, negatives, row_offset, threads);
}

void bind_negative_indices(py::module_& m) { m.def("negative_indices", &negative_indices); }

}  // namespace sslfast::host
