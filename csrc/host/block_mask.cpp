#include "sslfast/block_mask.h"

#include "arrays.h"

namespace sslfast::host {

static Array<bool> block_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                              std::optional<Array<int64_t>> targets, std::array<double, 2> target,
                              double mask_probability, int64_t rows, int64_t height, int64_t width,
                              std::array<double, 4> ranges, bool exact, bool shift, int64_t row_offset, int threads) {
  Array<bool> mask({rows, height, width});
  const BlockMask params{{nullptr, seed},
                         read_rows(sample_ids, row_offset),
                         rows,
                         {height, width, ranges[0], ranges[1], ranges[2], ranges[3], exact, shift},
                         targets ? targets->data() : nullptr,
                         target[0],
                         target[1],
                         probability_threshold(mask_probability),
                         mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::block_mask(params, threads);
  }
  return mask;
}

static Array<bool> inverse_block_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows,
                                      int64_t height, int64_t width, int64_t visible, std::array<double, 2> log_aspect,
                                      bool exact, bool shift, int64_t row_offset, int threads) {
  Array<bool> mask({rows, height, width});
  const InverseBlockMask params{{nullptr, seed},
                                read_rows(sample_ids, row_offset),
                                rows,
                                height,
                                width,
                                visible,
                                log_aspect[0],
                                log_aspect[1],
                                exact,
                                shift,
                                mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::inverse_block_mask(params, threads);
  }
  return mask;
}

static Array<bool> square_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids, int64_t rows, int64_t height,
                               int64_t width, int64_t squares, int64_t side, int64_t marked, bool inverse,
                               int64_t row_offset, int threads) {
  Array<bool> mask({rows, height, width});
  const SquareMask params{
      {nullptr, seed},    read_rows(sample_ids, row_offset), rows, height, width, squares, side, marked, inverse,
      mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::square_mask(params, threads);
  }
  return mask;
}

void bind_block_mask(py::module_& m) {
  m.def("block_mask", &block_mask);
  m.def("inverse_block_mask", &inverse_block_mask);
  m.def("square_mask", &square_mask);
}

}  // namespace sslfast::host
