#include "sslfast/dino_mask.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

static py::tuple dino_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t height,
                           int64_t width, std::array<double, 4> ranges, bool exact, bool shift, int64_t masked_rows,
                           std::array<double, 2> ratio, int64_t capacity, int64_t row_offset, int64_t batch_number,
                           int threads) {
  Array<bool> mask({rows, height * width});
  Array<int64_t> indices(capacity), total(1);
  Array<float> weights(capacity);
  std::vector<int64_t> counts(rows);
  const DinoMask params{{nullptr, seed},
                        read_rows(sample_ids, row_offset),
                        rows,
                        {height, width, ranges[0], ranges[1], ranges[2], ranges[3], exact, shift},
                        masked_rows,
                        ratio[0],
                        ratio[1],
                        batch_number,
                        capacity,
                        mask.mutable_data(),
                        indices.mutable_data(),
                        weights.mutable_data(),
                        counts.data(),
                        total.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::dino_mask(params, threads);
  }
  return py::make_tuple(mask, indices, weights, total);
}

void bind_dino_mask(py::module_& m) { m.def("dino_mask", &dino_mask); }

}  // namespace sslfast::host
