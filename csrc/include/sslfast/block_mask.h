#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// How BEiT and those after it mask rectangles of patches.
struct BlockRule {
  int64_t height, width;                   // sides of at most kLongestSide patches
  double min_patches, max_patches;         // of one block
  double log_aspect_low, log_aspect_high;  // of height over width
  bool exact;                              // exactly the target, blocks as wide as the grid; else at most the target
  bool shift;                              // the finished mask is turned around the edges by a random step
  int64_t tries = 10;                      // for one block
};

constexpr int64_t kLongestSide = 512;

// Block masks. Writes 1 byte a patch; a row's working memory is its grid in bits.
struct BlockMask {
  Seed seed;
  Rows row_ids;
  int64_t rows;
  BlockRule rule;
  const int64_t* targets;  // (rows), clamped to [0, patches]; or null
  double target_low,
      target_high;         // where that is null: exact, a whole number between these, both included; else a real
  uint64_t row_threshold;  // a row is masked where its word is below; else nothing of it is
  bool* mask;              // (rows, height, width), contiguous
};

// All but one block of exactly `visible` patches.
struct InverseBlockMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, height, width, visible;
  double log_aspect_low, log_aspect_high;  // such that the block fits
  bool exact;  // what is too many falls off any end of the block; else off the last line's right end
  bool shift;
  bool* mask;  // (rows, height, width), contiguous
};

// Squares around random patches, thinned or completed to exactly `marked` patches; these are masked, or all others.
struct SquareMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, height, width;
  int64_t squares, side, marked;
  bool inverse;  // the marked patches stay
  bool* mask;    // (rows, height, width), contiguous
};

namespace cpu {
void square_mask(const SquareMask& p, int threads);
void block_mask(const BlockMask& p, int threads);
void inverse_block_mask(const InverseBlockMask& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t square_mask(const SquareMask& p, cudaStream_t stream);
cudaError_t block_mask(const BlockMask& p, cudaStream_t stream);
cudaError_t inverse_block_mask(const InverseBlockMask& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
