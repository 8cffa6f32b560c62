// The loops that cost the time, for any number of lanes: image_augment_rows.cpp instantiates them once per
// instruction set. Everything is inlined into a function that is compiled for that set.
#pragma once

#include <cstring>

#include "image_augment_rows.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>  // declares the builtins
#endif

namespace sslfast::cpu {

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <int kLanes>
struct LaneTypes {  // apart from Lanes: g++ takes such a type for a scalar inside the template that defines it
  typedef float Floats __attribute__((vector_size(4 * kLanes)));
  typedef float FloatsAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
  typedef int Ints __attribute__((vector_size(4 * kLanes)));
  typedef int IntsAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
};

template <int kLanes>
struct Lanes {
  using Floats = typename LaneTypes<kLanes>::Floats;
  using FloatsAnywhere = typename LaneTypes<kLanes>::FloatsAnywhere;
  using Ints = typename LaneTypes<kLanes>::Ints;
  using IntsAnywhere = typename LaneTypes<kLanes>::IntsAnywhere;

  // The first `count` numbers, or all: a compile-time matter, since a block that may be part of a row goes through
  // memory.
  template <bool kWhole = true>
  static SSLFAST_INLINE Floats load(const float* from, [[maybe_unused]] int64_t count = kLanes) {
    if constexpr (kWhole) return *reinterpret_cast<const FloatsAnywhere*>(from);
    Floats value{};
    std::memcpy(&value, from, count * sizeof(float));
    return value;
  }
  // Past the caches, to whole cache lines.
  static SSLFAST_INLINE void stream(float* to, Floats value) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if constexpr (kLanes == 16) return __builtin_ia32_movntps512(to, value);
#endif
    store(to, value);
  }
  template <bool kWhole = true>
  static SSLFAST_INLINE void store(float* to, Floats value, int64_t count = kLanes) {
    if constexpr (kWhole) {
      *reinterpret_cast<FloatsAnywhere*>(to) = value;
    } else {
      std::memcpy(to, &value, count * sizeof(float));
    }
  }
};

// Two registers hold the window of pixels that kLanes outputs need, and a shuffle picks from both: a gather from memory
// costs several times as much.
template <int kLanes, int kChannels>
SSLFAST_INLINE void resample_window(const Planes& rows, const Table& table, const Planes& out, int64_t n) {
  using L = Lanes<kLanes>;
  for (int64_t x = 0; x < n; x += kLanes) {
    const int32_t base = table.base.get()[x / kLanes];
    const float* weight = table.weight.get() + x;
    typename L::Ints index = *reinterpret_cast<const typename L::IntsAnywhere*>(table.shift.get() + x);
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

// Of each channel through 256 values. The lanes go through an array of their own: indexed in place, they would keep
// every pixel of paint_blocks in memory.
template <int kLanes>
SSLFAST_INLINE typename Lanes<kLanes>::Floats look_up(const float* table, typename Lanes<kLanes>::Floats channel) {
  float value[kLanes];
  Lanes<kLanes>::store(value, channel);
  for (float& one : value) one = table[augment::to_byte(one)];
  return Lanes<kLanes>::load(value);
}

// One operation on every block. Its code is a constant in each case, and the blocks stay in registers: with the choice
// inside, block by block, they went through memory and the second waited for the first.
template <int kLanes, int kBlocks>
SSLFAST_INLINE void apply_to_blocks(const augment::Op& op,
                                    augment::Pixel<typename Lanes<kLanes>::Floats> (&pixels)[kBlocks]) {
  const auto all = [&]<int32_t kCode>() __attribute__((always_inline)) {
    augment::Op one = op;
    one.code = kCode;
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks; ++i) pixels[i] = augment::apply(one, pixels[i]);
  };
  switch (op.code) {
    case augment::kOpBrightness:
      return all.template operator()<augment::kOpBrightness>();
    case augment::kOpContrast:
      return all.template operator()<augment::kOpContrast>();
    case augment::kOpSaturation:
      return all.template operator()<augment::kOpSaturation>();
    case augment::kOpHue:
      return all.template operator()<augment::kOpHue>();
    case augment::kOpGray:
      return all.template operator()<augment::kOpGray>();
    case augment::kOpTable:
#pragma GCC unroll 4
      for (int i = 0; i < kBlocks; ++i) {
        pixels[i] = {look_up<kLanes>(op.table, pixels[i].r), look_up<kLanes>(op.table + 256, pixels[i].g),
                     look_up<kLanes>(op.table + 512, pixels[i].b)};
      }
      return;
    default:
#pragma GCC unroll 4
      for (int i = 0; i < kBlocks; ++i) pixels[i] = augment::apply(op, pixels[i]);
  }
}

// Keeps the pixels and adds their gray values to gray_sum.
template <int kLanes, int kChannels, int kBlocks, bool kWhole>
SSLFAST_INLINE void hold_blocks(const Row& row, int64_t x, int64_t count,
                                const augment::Pixel<typename Lanes<kLanes>::Floats> (&pixels)[kBlocks],
                                typename Lanes<kLanes>::Floats& gray_sum) {
  using L = Lanes<kLanes>;
  using Floats = typename L::Floats;
  const Planes out = row.out.moved(x);
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    const Floats done[3] = {pixels[i].r, pixels[i].g, pixels[i].b};
#pragma GCC unroll 4
    for (int c = 0; c < kChannels; ++c) L::template store<kWhole>(out.plane[c] + i * kLanes, done[c], count);
    Floats gray = kChannels == 3 ? augment::gray(pixels[i]) : pixels[i].r;
    if (!kWhole) {
      for (int64_t k = count; k < kLanes; ++k) gray[k] = 0.0f;
    }
    gray_sum += gray;
  }
}

// Normalises the pixels and writes them. All choices lie outside: a branch at each store took longer than the stores.
template <int kLanes, int kChannels, int kBlocks, bool kWhole, bool kStream>
SSLFAST_INLINE void finish_blocks(const Row& row, int64_t x, int64_t count,
                                  const augment::Pixel<typename Lanes<kLanes>::Floats> (&pixels)[kBlocks]) {
  using L = Lanes<kLanes>;
  using Floats = typename L::Floats;
  const Planes out = row.out.moved(x);
  float gain[kChannels], offset[kChannels];  // before the first store, which might change them for all that g++ knows
#pragma GCC unroll 4
  for (int c = 0; c < kChannels; ++c) gain[c] = row.gain[c], offset[c] = row.offset[c];
#pragma GCC unroll 4
  for (int c = 0; c < kChannels; ++c) {
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks; ++i) {
      const Floats done[3] = {pixels[i].r, pixels[i].g, pixels[i].b}, value = done[c] * gain[c] + offset[c];
      if (kStream) {
        L::stream(out.plane[c] + i * kLanes, value);
      } else {
        L::template store<kWhole>(out.plane[c] + i * kLanes, value, count);
      }
    }
  }
}

// kBlocks times kLanes pixels of a row from x on, or, as one block, the last `count`. Blocks side by side keep the
// processor busy, because one pixel's operations wait for each other. Adds the gray values of a held row to gray_sum.
template <int kLanes, int kChannels, int kBlocks, bool kWhole>
SSLFAST_INLINE void paint_blocks(const Row& row, int64_t x, int64_t count, typename Lanes<kLanes>::Floats& gray_sum) {
  using L = Lanes<kLanes>;
  using Floats = typename L::Floats;
  augment::Pixel<Floats> pixels[kBlocks];
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    Floats channel[3];
#pragma GCC unroll 4
    for (int c = 0; c < kChannels; ++c) channel[c] = L::template load<kWhole>(row.top.plane[c] + x + i * kLanes, count);
#pragma GCC unroll 4
    for (int c = kChannels; c < 3; ++c) channel[c] = channel[0];
    pixels[i] = {channel[0], channel[1], channel[2]};
  }
  if (row.blend) {
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks; ++i) {
      Floats* channel[3] = {&pixels[i].r, &pixels[i].g, &pixels[i].b};
#pragma GCC unroll 4
      for (int c = 0; c < kChannels; ++c) {
        const Floats bottom = L::template load<kWhole>(row.bottom.plane[c] + x + i * kLanes, count);
        *channel[c] = *channel[c] * row.top_weight + bottom * row.bottom_weight;
      }
    }
  }
  for (int32_t k = 0; k < row.ops; ++k) apply_to_blocks<kLanes>(row.op[k], pixels);
  if (row.hold) return hold_blocks<kLanes, kChannels, kBlocks, kWhole>(row, x, count, pixels, gray_sum);
  if (kWhole && row.stream) return finish_blocks<kLanes, kChannels, kBlocks, kWhole, true>(row, x, count, pixels);
  finish_blocks<kLanes, kChannels, kBlocks, kWhole, false>(row, x, count, pixels);
}

// Halves onto halves: one lane after another would wait for as many additions as there are lanes.
template <int kLanes>
SSLFAST_INLINE float sum_of_lanes(typename Lanes<kLanes>::Floats sum) {
  if constexpr (kLanes == 4) {
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
  } else {
    using Half = typename Lanes<kLanes / 2>::Floats;
    Half half[2];
    std::memcpy(half, &sum, sizeof(sum));
    return sum_of_lanes<kLanes / 2>(half[0] + half[1]);
  }
}

template <int kLanes, int kChannels>
SSLFAST_INLINE double paint_lanes(const Row& row) {
  constexpr int kBlocks = kLanes == 16 ? 4 : 2;  // 16 registers hold two blocks, 32 hold four
  typename Lanes<kLanes>::Floats gray_sum{};
  int64_t x = 0;
  const auto blocks = [&]<int kCount>() __attribute__((always_inline)) {
    for (; x + kCount * kLanes <= row.n; x += kCount * kLanes) {
      paint_blocks<kLanes, kChannels, kCount, true>(row, x, kLanes, gray_sum);
    }
  };
  blocks.template operator()<kBlocks>();
  if constexpr (kBlocks > 2) blocks.template operator()<2>();
  blocks.template operator()<1>();
  if (x < row.n) paint_blocks<kLanes, kChannels, 1, false>(row, x, row.n - x, gray_sum);
  return row.hold ? sum_of_lanes<kLanes>(gray_sum) : 0.0;
}

}  // namespace sslfast::cpu
