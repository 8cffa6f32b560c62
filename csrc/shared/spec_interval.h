// One masked interval of a spectrogram, drawn with integers: equal on the CPU and the GPU.
#pragma once

#include "portable_double.h"
#include "sslfast/spec_augment.h"

namespace sslfast::spec {

struct Interval {
  int32_t first, end, frames;  // frames: of the row, before its padding
};

// The upper 64 bits of a 96-bit product: floor(a * word / 2^32), for a < 2^63.
SSLFAST_HD uint64_t share_of(uint64_t a, uint32_t word) {
  return (a >> 32) * word + (((a & 0xFFFFFFFFu) * word) >> 32);
}

SSLFAST_HD Interval draw_interval(const SpecIntervals& p, uint64_t seed, int64_t r, int64_t channel, int64_t mask,
                                  int64_t bins, int64_t frames) {
  if (p.lengths) {
    const int64_t length = p.lengths[r];
    frames = length < 0 ? 0 : length < frames ? length : frames;
  }
  const bool of_bins = mask < p.bin_masks;
  const int64_t size = of_bins ? bins : frames;
  int64_t widest = of_bins ? p.bin_param : p.frame_param;
  if (!of_bins && p.frame_share < 1) {
    const int64_t cap = static_cast<int64_t>(portable::mul(static_cast<double>(frames), p.frame_share));
    widest = cap < widest ? cap : widest;
  }
  const int64_t masks = p.bin_masks + p.frame_masks;
  const Words w = philox(seed, Stream::kSpecAugment, p.shared ? 0 : p.row_ids[r],
                         static_cast<uint32_t>((p.shared ? 0 : channel * masks) + mask));
  int64_t first, width;
  if (p.rule == SpecRule::kTorchaudio) {
    // width = U * widest and first = U' * (size - width), both cut down to integers, width only afterwards.
    const uint64_t exact_width = static_cast<uint64_t>(w.word[0]) * static_cast<uint64_t>(widest);  // times 2^32
    const uint64_t whole = static_cast<uint64_t>(size) << 32;
    width = static_cast<int64_t>(exact_width >> 32);
    // A width above the size makes torchaudio's start negative, which it cuts towards zero.
    first = exact_width > whole ? -static_cast<int64_t>(share_of(exact_width - whole, w.word[1]) >> 32)
                                : static_cast<int64_t>(share_of(whole - exact_width, w.word[1]) >> 32);
  } else {
    widest = size < widest ? size : widest;
    width = uniform_below(w.word[0], static_cast<uint64_t>(widest) + 1);
    first = uniform_below(w.word[1], static_cast<uint64_t>(size - width) + 1);
  }
  int64_t end = first + width;
  first = first < 0 ? 0 : first;
  end = end > size ? size : end < first ? first : end;
  return {static_cast<int32_t>(first), static_cast<int32_t>(end), static_cast<int32_t>(frames)};
}

}  // namespace sslfast::spec
