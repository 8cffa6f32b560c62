// The two loops that cost the time, for any number of lanes: image_augment_rows.cpp instantiates them once per
// instruction set. Everything is inlined into a function that is compiled for that set.
#pragma once

#include <cstring>

#include "image_augment_rows.h"

namespace sslfast::cpu {

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <int kLanes>
struct LaneTypes {  // apart from Lanes: g++ takes such a type for a scalar inside the template that defines it
  typedef float Floats __attribute__((vector_size(4 * kLanes)));
  typedef float FloatsAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
  typedef int Ints __attribute__((vector_size(4 * kLanes)));
  typedef int IntsAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
  typedef unsigned Bits __attribute__((vector_size(4 * kLanes)));
  typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
};

template <int kLanes>
struct Lanes {
  using Floats = typename LaneTypes<kLanes>::Floats;
  using FloatsAnywhere = typename LaneTypes<kLanes>::FloatsAnywhere;
  using Ints = typename LaneTypes<kLanes>::Ints;
  using IntsAnywhere = typename LaneTypes<kLanes>::IntsAnywhere;
  using Bits = typename LaneTypes<kLanes>::Bits;
  using Halves = typename LaneTypes<kLanes>::Halves;

  // The first `count` numbers, or all: a compile-time matter, since a block that may be part of a row goes through
  // memory.
  template <bool kWhole = true>
  static SSLFAST_INLINE Floats load(const float* from, [[maybe_unused]] int64_t count = kLanes) {
    if constexpr (kWhole) return *reinterpret_cast<const FloatsAnywhere*>(from);
    Floats value{};
    std::memcpy(&value, from, count * sizeof(float));
    return value;
  }
  template <bool kWhole = true>
  static SSLFAST_INLINE void store(float* to, Floats value, int64_t count = kLanes) {
    if constexpr (kWhole) {
      *reinterpret_cast<FloatsAnywhere*>(to) = value;
    } else {
      std::memcpy(to, &value, count * sizeof(float));
    }
  }
  // As augment::store does one number.
  template <bool kWhole = true>
  static SSLFAST_INLINE void store(BFloat16* to, Floats value, int64_t count = kLanes) {
    const Bits bits = reinterpret_cast<Bits>(value);
    const Halves rounded = __builtin_convertvector((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16, Halves);
    std::memcpy(to, &rounded, (kWhole ? kLanes : count) * sizeof(BFloat16));
  }
};

// Two registers hold the window of pixels that kLanes outputs need, and a shuffle picks from both: a gather from memory
// costs several times as much.
template <int kLanes, int kChannels>
SSLFAST_INLINE void resample_window(const Planes& rows, const Table& table, const Planes& out, int64_t n) {
  using L = Lanes<kLanes>;
  for (int64_t x = 0; x < n; x += kLanes) {
    const int32_t base = table.base[x / kLanes];
    const float* weight = table.weight.get() + x;
    typename L::Ints index = *reinterpret_cast<const typename L::IntsAnywhere*>(table.offset.get() + x);
    typename L::Floats low[kChannels], high[kChannels], sum[kChannels];
    typename L::Floats w = L::load(weight);
    for (int c = 0; c < kChannels; ++c) {
      low[c] = L::load(rows.plane[c] + base);
      high[c] = L::load(rows.plane[c] + base + kLanes);
      sum[c] = w * __builtin_shuffle(low[c], high[c], index);
    }
    for (int32_t k = 1; k < table.taps; ++k) {
      index += 1;
      w = L::load(weight + k * table.stride);
      for (int c = 0; c < kChannels; ++c) sum[c] += w * __builtin_shuffle(low[c], high[c], index);
    }
    for (int c = 0; c < kChannels; ++c) L::store(out.plane[c] + x, sum[c]);
  }
}

// kBlocks times kLanes pixels of a row from x on, or, as one block, the last `count`. Blocks side by side keep the
// processor busy, because one pixel's operations wait for each other. Adds the gray values of a held row to gray_sum.
template <int kLanes, int kChannels, int kBlocks, bool kWhole, typename Out>
SSLFAST_INLINE void paint_blocks(const Row<Out>& row, const augment::View& v, const ImageAugment<Out>& p, int64_t x,
                                 int64_t count, typename Lanes<kLanes>::Floats& gray_sum) {
  using L = Lanes<kLanes>;
  using Floats = typename L::Floats;
  augment::Pixel<Floats> pixels[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    Floats channel[3];
    for (int c = 0; c < kChannels; ++c) channel[c] = L::template load<kWhole>(row.top.plane[c] + x + i * kLanes, count);
    for (int c = kChannels; c < 3; ++c) channel[c] = channel[0];
    pixels[i] = {channel[0], channel[1], channel[2]};
  }
  if (row.blend) {
    for (int i = 0; i < kBlocks; ++i) {
      Floats* channel[3] = {&pixels[i].r, &pixels[i].g, &pixels[i].b};
      for (int c = 0; c < kChannels; ++c) {
        const Floats bottom = L::template load<kWhole>(row.bottom.plane[c] + x + i * kLanes, count);
        *channel[c] = *channel[c] * row.top_weight + bottom * row.bottom_weight;
      }
    }
  }
  if (row.contrast) {
    for (auto& pixel : pixels) pixel = augment::contrast(pixel, v.contrast_factor, row.contrast_rest);
  }
  for (uint32_t list = row.list; list; list >>= 4) {
    for (auto& pixel : pixels) pixel = augment::jitter<kChannels>(pixel, list & 15u, v);
  }
  if (row.hold) {
    for (int i = 0; i < kBlocks; ++i) {
      const Floats held[3] = {pixels[i].r, pixels[i].g, pixels[i].b};
      for (int c = 0; c < kChannels; ++c) L::template store<kWhole>(row.held.plane[c] + x + i * kLanes, held[c], count);
      Floats gray = kChannels == 3 ? augment::gray(pixels[i]) : pixels[i].r;
      if (!kWhole) {
        for (int64_t k = count; k < kLanes; ++k) gray[k] = 0.0f;
      }
      gray_sum += gray;
    }
    return;
  }
  if (kChannels == 3 && v.gray) {
    for (auto& pixel : pixels) pixel.r = pixel.g = pixel.b = augment::gray(pixel);
  }
  for (int i = 0; i < kBlocks; ++i) {
    const Floats done[3] = {pixels[i].r, pixels[i].g, pixels[i].b};
    for (int c = 0; c < kChannels; ++c) {
      L::template store<kWhole>(row.out[c] + x + i * kLanes, done[c] * p.gain[c] + p.offset[c], count);
    }
  }
}

template <int kLanes, int kChannels, typename Out>
SSLFAST_INLINE double paint_lanes(const Row<Out>& row, const augment::View& v, const ImageAugment<Out>& p) {
  constexpr int kBlocks = 2;
  const int64_t n = p.out_width, whole = n / (kBlocks * kLanes) * (kBlocks * kLanes);
  typename Lanes<kLanes>::Floats gray_sum{};
  for (int64_t x = 0; x < whole; x += kBlocks * kLanes) {
    paint_blocks<kLanes, kChannels, kBlocks, true>(row, v, p, x, kLanes, gray_sum);
  }
  for (int64_t x = whole; x < n; x += kLanes) {
    paint_blocks<kLanes, kChannels, 1, false>(row, v, p, x, n - x < kLanes ? n - x : kLanes, gray_sum);
  }
  double total = 0;
  if (row.hold) {
    for (int i = 0; i < kLanes; ++i) total += gray_sum[i];
  }
  return total;
}

}  // namespace sslfast::cpu
