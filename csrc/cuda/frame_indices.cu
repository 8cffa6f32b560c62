// Frames of clips, one launch, one thread a clip, no host synchronisation. Bytes: 8 a frame written.
#include "shared/frame_indices_clip.h"
#include "sslfast/frame_indices.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) draw_clips(FrameIndices p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.rows * p.clips) return;
  frames::clip_frames(p, p.seed.get(), i / p.clips, i % p.clips, p.out + i * p.clip_length);
}

}  // namespace

cudaError_t frame_indices(const FrameIndices& p, cudaStream_t stream) {
  const int64_t blocks = (p.rows * p.clips + kThreads - 1) / kThreads;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_clips<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
