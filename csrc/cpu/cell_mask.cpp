// Rows in parallel; the keys of a row stay in the first-level cache while the bound of the subset is searched. Lines
// and frames of the same cells are copies of the first.
#include "sslfast/cell_mask.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "isa.h"
#include "shared/cell_mask_row.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kPatchesPerThread = 16 << 10;

SSLFAST_ISA_CLONES void mask_cells(const CellMask& p, uint64_t seed, int64_t r, uint64_t* memory, bool* masked) {
  const int64_t cells = p.cells();
  const StoredPairs pairs = store_pairs(cells::draw_pairs(p, seed, r), memory, cells, {0, 1});
  const uint64_t bound = subset_bound(pairs, cells, p.masked, {0, 1});
  for (int64_t i = 0; i < cells; ++i) masked[i] = pairs(i) < bound;
}

void write_row(const CellMask& p, int64_t r, const bool* masked) {
  const int64_t columns = p.width / p.cell_width, frame_size = p.height * p.width;
  bool* out = p.mask + r * p.frames * frame_size;
  for (int64_t frame = 0; frame < p.frames; frame += p.cell_frames) {
    bool* first_frame = out;
    for (int64_t y = 0; y < p.height; y += p.cell_height, masked += columns) {
      bool* first_line = out;
      if (p.cell_width == 1) {
        std::memcpy(out, masked, p.width);
      } else {
        for (int64_t x = 0; x < columns; ++x) std::memset(out + x * p.cell_width, masked[x], p.cell_width);
      }
      out += p.width;
      for (int64_t line = 1; line < p.cell_height; ++line, out += p.width) std::memcpy(out, first_line, p.width);
    }
    for (int64_t t = 1; t < p.cell_frames; ++t, out += frame_size) std::memcpy(out, first_frame, frame_size);
  }
}

}  // namespace

void cell_mask(const CellMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t work = p.rows * p.frames * p.height * p.width, cells = p.cells();
  threads = static_cast<int>(std::clamp<int64_t>(work / kPatchesPerThread, 1, threads));
  const int64_t size = (cells + 3) / 4 * 4;
  std::vector<uint64_t> memory(threads * size);
  std::vector<char> flags(threads * cells);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    bool* masked = reinterpret_cast<bool*>(flags.data() + omp_get_thread_num() * cells);
    mask_cells(p, seed, r, memory.data() + omp_get_thread_num() * size, masked);
    write_row(p, r, masked);
  }
}

}  // namespace sslfast::cpu
