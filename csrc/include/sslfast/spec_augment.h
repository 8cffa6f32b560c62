#pragma once

#include "sslfast/launch.h"

namespace sslfast {

constexpr int kMostSpecMasks = 32;  // of each axis

enum class SpecRule : int64_t { kExact = 0, kTorchaudio = 1 };

// Which intervals of spectrograms (rows, channels, bins, frames) are masked: `bin_masks` of bins, then `frame_masks` of
// frames. Mask i of channel c draws counter c * (bin_masks + frame_masks) + i.
struct SpecIntervals {
  Seed seed;
  Rows row_ids;
  bool shared;             // one set for all rows and channels, that of row number 0
  const int64_t* lengths;  // (rows): frames of each row before its padding, or null
  int64_t bin_masks, bin_param, frame_masks, frame_param;
  double frame_share;  // widths of frames are at most this share of the row's frames
  SpecRule rule;
};

// Writes the value of its row to the cells in an interval, and elsewhere what `from` has. Elements are `element_size`
// bytes, whatever they mean; strides in elements. Reads and writes each cell once; with from == to, in place, writes
// the masked cells alone.
struct SpecFill {
  int64_t rows, channels, bins, frames;
  int64_t element_size;
  const void* from;
  int64_t from_row_stride, from_channel_stride, from_bin_stride, from_frame_stride;
  void* to;
  int64_t to_row_stride, to_channel_stride, to_bin_stride, to_frame_stride;
  const void* values;  // one a row and channel, or null: `constant`, the bits of an element
  uint64_t constant;
  int64_t bin_masks, frame_masks;
  int32_t* intervals;  // (rows, channels, bin_masks + frame_masks, 3): first, end, and the frames of the row
};

struct SpecAugment {
  SpecIntervals draw;
  SpecFill fill;
};

namespace cpu {
void spec_augment(const SpecAugment& p, int threads);  // draws the intervals, stores them and fills
void spec_fill(const SpecFill& p, int threads);        // fills the intervals it is given
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t spec_augment(const SpecAugment& p, cudaStream_t stream);
cudaError_t spec_fill(const SpecFill& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
