// Which view a block makes, and its pixels on their way out.
// `Memory` has store(out, type, i, x), and store_two and store_four, which write so many elements from x on at an
// address that is a multiple of their size.
#pragma once

#include "image_augment_source.h"
#include "portable_normal.h"
#include "random_erase_sample.h"

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
//
// Elements that lie side by side are stored by fours, and where rows are of an even width, but of no multiple of four,
// every other row by twos; of a pixel with four channels last, or a multiple of that, four channels are one store,
// whether the view is made whole or waits. What is left is stored one by one: rows of odd width, which begin anywhere,
// as shifting every row's runs to where it is aligned would cost more lanes than are saved; other numbers of channels,
// last, a store a channel, by which neighbouring lanes fill the same sectors in several requests; and what a box
// erases. Four channels of a list with contrast, equalize, auto contrast or RandAugment would be four items: transforms
// refuse them.
template <typename Memory, int kChannels>
struct Output {
  const ImageAugment& p;

  SSLFAST_HD void write(const Item& item, int32_t y, int32_t x, int32_t n, float* value) const {
    write_pixels(item, y, x, n, value);
    for (int32_t e = 0; e < p.erases; ++e) put_box(e, item, y, x);
  }

 private:
  SSLFAST_HD void write_pixels(const Item& item, int32_t y, int32_t x, int32_t n, float* value) const {
    const int64_t plane = p.out_height * p.out_width, at = int64_t{y} * p.out_width + x;
    const int64_t first = (item.view * p.rows + item.row) * p.channels * plane, channel = item.group * kChannels;
    for (int32_t c = 0; c < kChannels; ++c) {
      const float gain = p.gain[channel + c], offset = p.offset[channel + c];
      for (int32_t k = 0; k < kRun; ++k) value[c * kRun + k] = gain * value[c * kRun + k] + offset;
    }
    if (!p.channels_last) {
      for (int32_t c = 0; c < kChannels; ++c) write_line<kRun>(first + (channel + c) * plane + at, n, value + c * kRun);
      return;
    }
    const int64_t i = first + at * p.channels + channel;
    if (kChannels == 4 && is_aligned(i, 4) && p.channels % 4 == 0) {
      for (int32_t k = 0; k < kRun; ++k) {
        float pixel[4] = {};
        for (int32_t c = 0; c < kChannels; ++c) pixel[c] = value[c * kRun + k];
        if (k < n) Memory::store_four(p.out, p.out_type, i + k * p.channels, pixel);
      }
      return;
    }
    if (kChannels == p.channels) {
      float side_by_side[kChannels * kRun];
      for (int32_t k = 0; k < kChannels * kRun; ++k) side_by_side[k] = value[k % kChannels * kRun + k / kChannels];
      return write_line<kChannels * kRun>(i, n * kChannels, side_by_side);
    }
    for (int32_t c = 0; c < kChannels; ++c) {
      for (int32_t k = 0; k < kRun; ++k) {
        if (k < n) Memory::store(p.out, p.out_type, i + k * p.channels + c, value[c * kRun + k]);
      }
    }
  }

  // What random_erase would write afterwards, over what the lane has just stored: by now its pixels need no registers,
  // and boxes are small. A run is the group of pixels that share a counter of the noise.
  SSLFAST_HD void put_box(int32_t e, const Item& item, int32_t y, int32_t x) const {
    static_assert(kRun == 4);
    const float* params = p.params + (item.index + 1) * p.columns - (p.erases - e) * kEraseColumns;
    ImageLines image{};
    image.height = p.out_height;
    image.line = p.out_width;
    image.unit = 1;
    const LineBox box = line_box(params + kEraseTop, image);
    if (!box.has_line(y) || box.right <= x || x + kRun <= box.left) return;
    const auto left = static_cast<int32_t>(box.left), right = static_cast<int32_t>(box.right);
    const uint64_t key = erase::noise_key(params);
    const auto& what = p.erase[e];
    const int64_t groups = (p.out_width + kRun - 1) / kRun;
#ifdef __CUDACC__
#pragma unroll 1
#endif
    for (int32_t c = 0; c < kChannels; ++c) {
      const int64_t channel = item.group * kChannels + c;
      const float constant = p.erased[what.first + (what.count == 1 ? 0 : channel)];
      float made[kRun] = {constant, constant, constant, constant};
      if (what.noise) {
        const Words w = philox(key, Stream::kEraseNoise, 0,
                               static_cast<uint32_t>((channel * p.out_height + y) * groups + x / kRun));
        const normal::Pair a = normal::normal_pair(w.word[0], w.word[1]), b = normal::normal_pair(w.word[2], w.word[3]);
        made[0] = a.first, made[1] = a.second, made[2] = b.first, made[3] = b.second;
      }
      const int64_t plane = p.out_height * p.out_width, at = int64_t{y} * p.out_width + x;
      const int64_t first = (item.view * p.rows + item.row) * p.channels * plane;
      const int64_t i = first + (p.channels_last ? at * p.channels + channel : channel * plane + at);
      for (int32_t k = 0; k < kRun; ++k) {
        if (left <= x + k && x + k < right) Memory::store(p.out, p.out_type, i + k * step(), made[k]);
      }
    }
  }

  SSLFAST_HD int64_t step() const { return p.channels_last ? p.channels : 1; }

  // The first n of kCount elements from i on.
  template <int32_t kCount>
  SSLFAST_HD void write_line(int64_t i, int32_t n, const float* value) const {
    const bool fours = is_aligned(i, 4), twos = is_aligned(i, 2);
    for (int32_t four = 0; four < kCount; four += 4) {
      if (fours && four + 4 <= n) {
        Memory::store_four(p.out, p.out_type, i + four, value + four);
        continue;
      }
      for (int32_t k = four; k < four + 4; k += 2) {
        if (twos && k + 2 <= n) {
          Memory::store_two(p.out, p.out_type, i + k, value + k);
        } else {
          if (k < n) Memory::store(p.out, p.out_type, i + k, value[k]);
          if (k + 1 < n) Memory::store(p.out, p.out_type, i + k + 1, value[k + 1]);
        }
      }
    }
  }

  // Is the address of element i a multiple of so many elements?
  SSLFAST_HD bool is_aligned(int64_t i, uint32_t count) const {
    const auto bytes = static_cast<uint64_t>(pixel_bytes(p.out_type));
    return (reinterpret_cast<uintptr_t>(p.out) + static_cast<uint64_t>(i) * bytes) % (count * bytes) == 0;
  }
};

}  // namespace sslfast::augment
