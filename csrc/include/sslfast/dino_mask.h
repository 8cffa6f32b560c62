#pragma once

#include "sslfast/block_mask.h"

namespace sslfast {

// The masks of a batch of global crops as DINOv2's collator makes them: of the rows, in a random order, the first
// `masked_rows` are masked, number i of them by a share that is uniform within bin i of [ratio_low, ratio_high]. The
// order is drawn for the batch and keyed by its number; share and blocks are the row's own. Beside the masks, 1 byte a
// patch: positions and weights, 12 bytes a slot.
struct DinoMask {
  Seed seed;
  Rows row_ids;
  int64_t rows;
  BlockRule rule;
  int64_t masked_rows;
  double ratio_low, ratio_high;
  int64_t batch_number;
  int64_t capacity;  // slots: at least as many as targets can add up to
  bool* mask;        // (rows, height * width), contiguous
  int64_t* indices;  // (capacity): flat positions in ascending order, then -1
  float* weights;    // (capacity): 1 / masked patches of the position's row, then 0
  int64_t* counts;   // (rows): masked patches
  int64_t* total;    // (1)
};

namespace cpu {
void dino_mask(const DinoMask& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t dino_mask(const DinoMask& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
