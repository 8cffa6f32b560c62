#include "sslfast/cell_mask.h"

#include "tensor.h"

namespace sslfast::ops {

static Tensor cell_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t stream,
                        int64_t rows, int64_t frames, int64_t height, int64_t width, int64_t cell_frames,
                        int64_t cell_height, int64_t cell_width, int64_t masked, int64_t row_offset) {
  check(here(like), "cell_mask: like is on another device");
  check(rows >= 0 && cell_frames >= 1 && cell_height >= 1 && cell_width >= 1, "cell_mask: sizes must be positive");
  check(frames % cell_frames == 0 && height % cell_height == 0 && width % cell_width == 0,
        "cell_mask: cells must tile the grid");
  Tensor mask = empty({rows, frames, height, width}, ScalarType::Bool, like);
  CellMask p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.stream = static_cast<uint32_t>(stream);
  p.rows = rows;
  p.frames = frames;
  p.height = height;
  p.width = width;
  p.cell_frames = cell_frames;
  p.cell_height = cell_height;
  p.cell_width = cell_width;
  p.masked = masked;
  p.mask = mask.mutable_data_ptr<bool>();
  check(p.cells() < int64_t{1} << 31 && masked >= 0 && masked <= p.cells(), "cell_mask: 0 <= masked <= cells");
  launch([](const CellMask& params, auto where) { return backend::cell_mask(params, where); }, p, like);
  return mask;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("cell_mask", TORCH_BOX(&cell_mask)); }

}  // namespace sslfast::ops
