// One row of CellMask.
#pragma once

#include "random_subset.h"
#include "sslfast/cell_mask.h"

namespace sslfast::cells {

struct Any {
  SSLFAST_HD bool operator()(int64_t) const { return true; }
};

SSLFAST_HD DrawnPairs<Any> draw_pairs(const CellMask& p, uint64_t seed, int64_t r) {
  return {{seed, p.stream, p.row_ids[r], 0}, {}};
}

template <typename Pairs>
SSLFAST_HD void write_row(const CellMask& p, int64_t r, const Pairs& pairs, Lanes lanes) {
  const uint64_t bound = subset_bound(pairs, p.cells(), p.masked, lanes);
  const int64_t columns = p.width / p.cell_width, lines = p.height / p.cell_height;
  const int64_t patches = p.frames * p.height * p.width;
  bool* mask = p.mask + r * patches;
  for (int64_t patch = lanes.first; patch < patches; patch += lanes.step) {
    const int64_t line = patch / p.width, column = patch % p.width / p.cell_width;
    const int64_t frame = line / p.height, y = line % p.height;
    mask[patch] = pairs((frame / p.cell_frames * lines + y / p.cell_height) * columns + column) < bound;
  }
}

}  // namespace sslfast::cells
