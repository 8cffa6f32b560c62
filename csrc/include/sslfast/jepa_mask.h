#pragma once

#include "sslfast/launch.h"

namespace sslfast {

constexpr int kMostBlocks = 16;       // targets of a row, and contexts of a row
constexpr int kPlaceTries = 20;       // before one target less keeps a context away
constexpr int64_t kMostWords = 4096;  // of a row's grid: lines times words of 64 columns

// A rectangle's share of the grid's patches, and its height over its width: each uniform between two ends.
struct JepaSize {
  double scale_low, scale_high, aspect_low, aspect_high;
};

// Lists of patches that a batch has to have equally long. Their patches are first bits, then, once the longest and the
// shortest are known, numbers: at most `size` of a row, -1 behind them.
struct JepaLists {
  Seed seed;
  Rows row_ids;
  int64_t rows, lines, width;  // a row's grid has lines (frames times height) of `width` patches
  int64_t lists;
  bool together;  // one size for all lists; else one each
  bool exact;     // what is too many is dropped at random, by draws of the stream `keep`; else from the end
  Stream keep;
  bool truncate;  // to the shortest; else as long as the longest
  int64_t most;   // of the first list, or 0: no limit
  int64_t capacity;
  int64_t* indices = nullptr;  // (lists, rows, capacity)
  int64_t* sizes = nullptr;    // (lists)
  uint64_t* bits = nullptr;    // (2, lists, rows, lines * words): working memory; the patches, then those that stay
  int64_t* counts = nullptr;   // (lists, rows): working memory
};

// I-JEPA: of each row `predictors` target blocks, and contexts, which are one block each without the targets. Sizes of
// blocks are drawn for the batch and keyed by its number.
struct IJepaMask {
  JepaLists contexts;
  int64_t height;
  JepaSize predictor, encoder;
  int64_t predictors, min_keep, batch_number;
  bool allow_overlap;
  int64_t target_capacity;
  int64_t* targets;      // (predictors, rows, target_capacity): a block's patches, then -1
  int64_t* target_size;  // (1): patches of a target block
};

// V-JEPA: the targets are the union of `blocks` blocks in space and time, and all frames from `context_frames` on; the
// context is the rest.
struct VJepaMask {
  JepaLists lists;  // contexts, targets
  int64_t frames, height;
  double temporal_low, temporal_high;
  JepaSize size;
  int64_t blocks, context_frames, batch_number;
};

namespace cpu {
void ijepa_mask(const IJepaMask& p, int threads);
void vjepa_mask(const VJepaMask& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t ijepa_mask(const IJepaMask& p, cudaStream_t stream);
cudaError_t vjepa_mask(const VJepaMask& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
