#include "sslfast/frame_indices.h"

#include <algorithm>

#include "shared/frame_indices_clip.h"

namespace sslfast::cpu {

void frame_indices(const FrameIndices& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t clips = p.rows * p.clips;
  threads = static_cast<int>(std::clamp<int64_t>(clips * p.clip_length / 4096, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < clips; ++i) {
    frames::clip_frames(p, seed, i / p.clips, i % p.clips, p.out + i * p.clip_length);
  }
}

}  // namespace sslfast::cpu
