// Which view a block makes, and its pixels on their way out.
// `Memory` has store(out, type, i, x) and store_four(out, type, i, x), which writes four elements at an address that is
// a multiple of their size.
#pragma once

#include "image_augment_source.h"

namespace sslfast::augment {

// Of the items (image, view, group of channels), counted in that order.
struct Item {
  int64_t index, group, row, view;  // index counts (image, view)
};

SSLFAST_HD Item item_of(const ImageAugment& p, int64_t number, int32_t channels) {
  const int64_t groups = p.channels / channels, index = number / groups;
  return {index, number % groups, index / p.views, index % p.views};
}

// n of kRun pixels of row y from x on, channel by channel in `value`, normalised.
template <typename Memory, int kChannels>
struct Output {
  const ImageAugment& p;

  SSLFAST_HD void write(const Item& item, int32_t y, int32_t x, int32_t n, float* value) const {
    const int64_t plane = p.out_height * p.out_width, at = int64_t{y} * p.out_width + x;
    const int64_t first = (item.view * p.rows + item.row) * p.channels * plane, channel = item.group * kChannels;
    for (int32_t c = 0; c < kChannels; ++c) {
      const float gain = p.gain[channel + c], offset = p.offset[channel + c];
      for (int32_t k = 0; k < kRun; ++k) value[c * kRun + k] = gain * value[c * kRun + k] + offset;
    }
    if (!p.channels_last) {
      for (int32_t c = 0; c < kChannels; ++c) {
        const int64_t i = first + (channel + c) * plane + at;
        if (n == kRun && is_aligned(i)) {
          Memory::store_four(p.out, p.out_type, i, value + c * kRun);
        } else {
          for (int32_t k = 0; k < n; ++k) Memory::store(p.out, p.out_type, i + k, value[c * kRun + k]);
        }
      }
      return;
    }
    const int64_t i = first + at * p.channels + channel;
    if (p.channels == kChannels && n == kRun && is_aligned(i)) {
      for (int32_t four = 0; four < kChannels; ++four) {
        float side_by_side[4];
        for (int32_t k = 0; k < 4; ++k) {
          const int32_t place = 4 * four + k;  // pixel by pixel
          side_by_side[k] = value[place % kChannels * kRun + place / kChannels];
        }
        Memory::store_four(p.out, p.out_type, i + 4 * four, side_by_side);
      }
      return;
    }
    for (int32_t c = 0; c < kChannels; ++c) {
      for (int32_t k = 0; k < n; ++k) Memory::store(p.out, p.out_type, i + k * p.channels + c, value[c * kRun + k]);
    }
  }

  SSLFAST_HD bool is_aligned(int64_t i) const {
    const auto bytes = static_cast<uint64_t>(pixel_bytes(p.out_type));
    return (reinterpret_cast<uintptr_t>(p.out) + static_cast<uint64_t>(i) * bytes) % (4 * bytes) == 0;
  }
};

}  // namespace sslfast::augment
