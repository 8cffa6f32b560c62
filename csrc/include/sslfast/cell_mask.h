#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// Masks of a grid of patches by whole cells: of each row's cells a uniformly random subset of `masked` is masked, and a
// patch is masked with its cell. SimMIM's coarse squares, VideoMAE's tubes (a cell is a place in all frames) and masked
// frames. Draws: random_subset.h over the cells in row-major order. Writes 1 byte a patch and reads nothing.
struct CellMask {
  Seed seed;
  Rows row_ids;
  uint32_t stream;
  int64_t rows;
  int64_t frames, height, width;                 // patches
  int64_t cell_frames, cell_height, cell_width;  // patches of a cell; divide those above
  int64_t masked;                                // cells
  bool* mask;                                    // (rows, frames, height, width), contiguous

  SSLFAST_HD int64_t cells() const { return frames / cell_frames * (height / cell_height) * (width / cell_width); }
};

namespace cpu {
void cell_mask(const CellMask& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t cell_mask(const CellMask& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
