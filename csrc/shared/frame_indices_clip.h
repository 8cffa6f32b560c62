// The frames of one clip, drawn with integers: equal on the CPU and the GPU.
#pragma once

#include "sslfast/frame_indices.h"

namespace sslfast::frames {

// The middle, or a random one, of part k of n equal parts of [0, total); the first number of a part that is empty.
SSLFAST_HD int64_t place_in_part(int64_t k, int64_t n, int64_t total, uint32_t word, bool random) {
  const int64_t first = k * total / n, count = (k + 1) * total / n - first;
  if (count < 1) return first;
  return first + (random ? static_cast<int64_t>(uniform_below(word, static_cast<uint64_t>(count))) : count / 2);
}

SSLFAST_HD uint32_t word_of(const FrameIndices& p, uint64_t seed, int64_t r, int64_t j) {
  const Words w = philox(seed, Stream::kFrames, p.row_ids[r], static_cast<uint32_t>(j / 4));
  uint32_t word = w.word[0];  // an index would go through memory
  word = j % 4 == 1 ? w.word[1] : word;
  word = j % 4 == 2 ? w.word[2] : word;
  word = j % 4 == 3 ? w.word[3] : word;
  return word;
}

SSLFAST_HD void clip_frames(const FrameIndices& p, uint64_t seed, int64_t r, int64_t clip, int64_t* out) {
  int64_t length = p.lengths ? p.lengths[r] : p.frames;
  length = length < 0 ? 0 : length < p.frames ? length : p.frames;
  const int64_t span = (p.clip_length - 1) * p.stride + 1, starts = length < span ? 1 : length - span + 1;
  int64_t start = 0;
  if (!p.segments) {
    start = place_in_part(clip, p.clips, starts, p.random ? word_of(p, seed, r, clip) : 0, p.random);
  }
  for (int64_t i = 0; i < p.clip_length; ++i) {
    int64_t frame = start + i * p.stride;
    if (p.segments) {
      const uint32_t word = p.random ? word_of(p, seed, r, clip * p.clip_length + i) : 0;
      frame = place_in_part(i, p.clip_length, length, word, p.random);
    }
    if (frame >= length) frame = length == 0 ? -1 : p.loop ? frame % length : length - 1;
    out[i] = frame;
  }
}

}  // namespace sslfast::frames
