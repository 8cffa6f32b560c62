#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// Which frames of each video are taken: `clips` runs of `clip_length` frames, `stride` apart, or one frame of each of
// `clip_length` equal segments. Writes 8 bytes a frame.
struct FrameIndices {
  Seed seed;
  Rows row_ids;
  const int64_t* lengths;  // (rows): frames of each video, or null
  int64_t rows, frames, clips, clip_length, stride;
  bool segments, random, loop;
  int64_t* out;  // (rows, clips, clip_length); -1 where a video has no frame
};

namespace cpu {
void frame_indices(const FrameIndices& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t frame_indices(const FrameIndices& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
