// Elements of a source that lie side by side, several in a load: bytes out of the aligned words that hold them, others
// out of the aligned blocks of sixteen bytes. A word or block that holds none of them is not read, and no page of
// memory ends within one.
// `Memory` has load<kBytes>(pixels, type, i), word(at), sixteen(at) and widen(type, bits), the value of an element of
// two or four bytes.
#pragma once

#include "image_augment_source.h"

namespace sslfast::augment {

struct alignas(16) Sixteen {
  uint32_t word[4];
};

// The 32 bits that begin `bits`, fewer than 32, after those of `low`.
SSLFAST_HD uint32_t spanning(uint32_t low, uint32_t high, uint32_t bits) {
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> bits);
}

template <typename Memory, int kCount>
SSLFAST_HD void read_bytes(const uint8_t* at, float* value) {
  constexpr int kWords = (kCount + 6) / 4;  // from the last byte of one on
  const auto address = reinterpret_cast<uintptr_t>(at);
  const auto* from = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
  const auto before = static_cast<uint32_t>(address & 3);
  uint32_t word[kWords + 1] = {};
  for (int k = 0; k < kWords; ++k) {
    if (k == 0 || static_cast<uint32_t>(4 * k) < before + kCount) word[k] = Memory::word(from + k);
  }
  for (int k = 0; k < kCount; k += 4) word[k / 4] = spanning(word[k / 4], word[k / 4 + 1], 8 * before);
  for (int k = 0; k < kCount; ++k) value[k] = static_cast<float>(word[k / 4] >> 8 * (k % 4) & 255u);
}

// The first `wanted` of kCount elements of two or four bytes, from element i on; the others are not to be used. Words
// move to their places by steps of two and one, so that no index is unknown at compile time: all stays in registers.
template <typename Memory, int kCount>
SSLFAST_HD void read_floats(const void* pixels, Pixels type, int64_t i, int32_t wanted, float* value) {
  constexpr int kBlocks = (4 * kCount + 12 + 15) / 16;
  const auto size = static_cast<uint32_t>(pixel_bytes(type));
  const auto address = reinterpret_cast<uintptr_t>(pixels) + static_cast<uint64_t>(i) * size;
  const auto* from = reinterpret_cast<const Sixteen*>(address & ~uintptr_t{15});
  const auto before = static_cast<uint32_t>(address & 15);
  const uint32_t end = before + static_cast<uint32_t>(wanted) * size;
  uint32_t word[4 * kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    Sixteen block{};
    if (b == 0 || static_cast<uint32_t>(16 * b) < end) block = Memory::sixteen(from + b);
    for (int k = 0; k < 4; ++k) word[4 * b + k] = block.word[k];
  }
  for (int k = 0; k < kCount + 1; ++k) word[k] = before & 8 ? word[k + 2] : word[k];
  for (int k = 0; k < kCount; ++k) word[k] = before & 4 ? word[k + 1] : word[k];
  if (size == 4) {
    for (int k = 0; k < kCount; ++k) value[k] = Memory::widen(type, word[k]);
    return;
  }
  for (int k = 0; k < kCount; ++k) {
    const uint32_t two = spanning(word[k / 2], word[k / 2 + 1], 8 * (before & 2));
    value[k] = Memory::widen(type, k % 2 == 0 ? two & 0xFFFFu : two >> 16);
  }
}

// kPixels of bytes that lie four apart, as those of RGBA do, and of each its first kChannels neighbours, channel by
// channel, out of the aligned blocks of sixteen bytes.
template <typename Memory, int kPixels, int kChannels>
SSLFAST_HD void read_quads(const uint8_t* at, float* value) {
  constexpr int kBlocks = (15 + 4 * (kPixels - 1) + kChannels + 15) / 16;
  const auto address = reinterpret_cast<uintptr_t>(at);
  const auto* from = reinterpret_cast<const Sixteen*>(address & ~uintptr_t{15});
  const auto before = static_cast<uint32_t>(address & 15), end = before + 4 * (kPixels - 1) + kChannels;
  uint32_t word[4 * kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    Sixteen block{};
    if (b == 0 || static_cast<uint32_t>(16 * b) < end) block = Memory::sixteen(from + b);
    for (int k = 0; k < 4; ++k) word[4 * b + k] = block.word[k];
  }
  for (int k = 0; k < kPixels + 2; ++k) word[k] = before & 8 ? word[k + 2] : word[k];
  for (int k = 0; k < kPixels + 1; ++k) word[k] = before & 4 ? word[k + 1] : word[k];
  for (int k = 0; k < kPixels; ++k) {
    const uint32_t pixel = spanning(word[k], word[k + 1], 8 * (before & 3));
    for (int c = 0; c < kChannels; ++c) value[c * kPixels + k] = static_cast<float>(pixel >> 8 * c & 255u);
  }
}

// Pixels of an image, of one channel, three or four.
template <typename Memory, bool kBytes, int kChannels>
struct PixelReader {
  Image image;
  Pixels type;

  // Do the pixels of a row lie side by side, each channel's or all three?
  SSLFAST_HD bool is_packed() const { return kChannels == 3 && image.width_stride == 3 && image.channel_stride == 1; }
  SSLFAST_HD bool is_dense() const { return image.width_stride == 1 || is_packed(); }

  // Or are they bytes that are four apart?
  SSLFAST_HD bool has_quads() const {
    return kBytes && image.width_stride == 4 && (kChannels == 1 || image.channel_stride == 1);
  }

  // Are four channels of a pixel side by side, and read at once?
  SSLFAST_HD bool is_whole() const { return kChannels == 4 && image.channel_stride == 1; }

  // Are four pixels of a row read at once?
  SSLFAST_HD bool has_runs() const { return is_dense() || has_quads(); }

  // kPixels of such a row from element `at` on, channel by channel; of floats only n are there.
  template <int kPixels>
  SSLFAST_HD void load(int64_t at, int32_t n, float* value) const {
    if constexpr (kBytes && kPixels == 4) {
      if (has_quads()) {
        return read_quads<Memory, kPixels, kChannels>(static_cast<const uint8_t*>(image.data) + at, value);
      }
    }
    if (kChannels == 3 && is_packed()) {
      float pixel[3 * kPixels];
      read<3 * kPixels>(at, 3 * n, pixel);
      for (int32_t i = 0; i < 3 * kPixels; ++i) value[i % 3 * kPixels + i / 3] = pixel[i];
      return;
    }
    if (is_whole()) {
      for (int32_t k = 0; k < kPixels; ++k) {
        float pixel[4];
        if (k < n) read<4>(at + k * image.width_stride, 4, pixel);
        for (int32_t c = 0; c < kChannels; ++c) value[c * kPixels + k] = pixel[c];
      }
      return;
    }
    for (int32_t c = 0; c < kChannels; ++c) read<kPixels>(at + c * image.channel_stride, n, value + c * kPixels);
  }

  // The taps of a column, whose weights lie kMostSide apart: as many at once as pays where they lie side by side. Two
  // taps of planar floats, as when an image is enlarged, do not. A row of the tile takes its first taps from at most 32
  // neighbours, so a warp's load of one is of at most five sectors a row, in L1 after the first, and brings 128 bytes;
  // a load of sixteen bytes a lane brings 512, in four turns, and where 1.25 of these would replace two, that is 5
  // for 2.
  SSLFAST_HD void add_line(int64_t at, const Taps& column, const float* weight, float wy, float* sum) const {
    int32_t kx = 0;
    if (!kBytes && is_packed()) {  // two at a time: more would spill registers
      for (; kx < column.count; kx += 2, at += 6) {
        add_dense<2>(at, column.count - kx < 2 ? 1 : 2, weight + kx * kMostSide, wy, sum);
      }
      return;
    }
    while (has_runs() && column.count - kx >= (kBytes ? 4 : 3)) {
      const int32_t n = column.count - kx < 4 ? column.count - kx : 4;
      add_dense<4>(at, n, weight + kx * kMostSide, wy, sum);
      kx += n;
      at += n * image.width_stride;
    }
    if (kBytes && is_dense() && column.count - kx >= 2) {
      add_dense<2>(at, 2, weight + kx * kMostSide, wy, sum);
      kx += 2;
      at += 2 * image.width_stride;
    }
    for (; kx < column.count; ++kx, at += image.width_stride) add(at, weight[kx * kMostSide] * wy, sum);
  }

  // Up to four taps whose weights lie side by side, in registers.
  SSLFAST_HD void add_four(int64_t at, int32_t n, const float* weight, float wy, float* sum) const {
    const int64_t step = image.width_stride;
    if (!kBytes && is_packed()) {
      add_dense<2, 1>(at, n < 2 ? n : 2, weight, wy, sum);
      if (n > 2) add_dense<2, 1>(at + 2 * step, n - 2, weight + 2, wy, sum);
    } else if (has_runs() && (kBytes ? n == 4 : n > 1)) {
      add_dense<4, 1>(at, n, weight, wy, sum);
    } else {
      for (int32_t k = 0; k < 4; ++k) {
        if (k < n) add(at + k * step, weight[k] * wy, sum);
      }
    }
  }

  SSLFAST_HD void add(int64_t at, float weight, float* sum) const {
    if constexpr (kChannels == 4) {
      if (is_whole()) {
        float pixel[4];
        read<4>(at, 4, pixel);
        for (int32_t c = 0; c < 4; ++c) sum[c] += weight * pixel[c];
        return;
      }
    }
    for (int32_t c = 0; c < kChannels; ++c) {
      sum[c] += weight * Memory::template load<kBytes>(image.data, type, at + c * image.channel_stride);
    }
  }

 private:
  template <int kCount>
  SSLFAST_HD void read(int64_t at, int32_t wanted, float* value) const {
    if constexpr (kBytes) {
      read_bytes<Memory, kCount>(static_cast<const uint8_t*>(image.data) + at, value);
    } else {
      read_floats<Memory, kCount>(image.data, type, at, wanted, value);
    }
  }

  // Of weights that lie kApart apart.
  template <int kPixels, int32_t kApart = kMostSide>
  SSLFAST_HD void add_dense(int64_t at, int32_t n, const float* weight, float wy, float* sum) const {
    float value[kChannels * kPixels];
    load<kPixels>(at, n, value);
    for (int32_t k = 0; k < kPixels; ++k) {
      if (!kBytes && k >= n) break;
      const float w = weight[k * kApart] * wy;
      for (int32_t c = 0; c < kChannels; ++c) sum[c] += w * value[c * kPixels + k];
    }
  }
};

}  // namespace sslfast::augment
