// What bounds a blur is how often a pixel is loaded. Down: two rows of outputs at a time share all that they take.
// Across: the pixels of four blocks are loaded once and shifted in registers; unaligned loads, nearly all of them over
// two cache lines, are one a cycle, and serve at the ends. On a Zen 5 core a reach of 5 takes 5.7 cycles down and 5.8
// across for 16 pixels, where the additions and products alone take 5 and 5; loads alone took 15 and 13. A Zen 4 core,
// whose units are half as wide, takes 10.6 and 13.2.
#include "image_augment_blur.h"

#include "image_augment_lanes.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#endif

namespace sslfast::cpu {
namespace {

// kBlocks times kLanes outputs of one row or two from x on. What the upper row takes from k rows below, the lower one
// takes from k - 1 below itself, and so above.
template <int kLanes, int kBlocks, bool kTwo>
SSLFAST_INLINE void down_block(const float* const* rows, const float* weight, int32_t reach, int64_t x, float* out,
                               int64_t out_stride) {
  using L = Lanes<kLanes>;
  typename L::Floats above[kBlocks], below[kBlocks], upper[kBlocks], lower[kBlocks];
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    above[i] = L::load(rows[0] + x + i * kLanes);
    upper[i] = weight[0] * above[i];
    if (!kTwo) continue;
    below[i] = L::load(rows[1] + x + i * kLanes);
    lower[i] = weight[0] * below[i];
  }
  for (int32_t k = 1; k <= reach; ++k) {
    const float *next_above = rows[-k] + x, *next_below = rows[kTwo ? k + 1 : k] + x;
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks; ++i) {
      const typename L::Floats up = L::load(next_above + i * kLanes), down = L::load(next_below + i * kLanes);
      upper[i] += weight[k] * (up + (kTwo ? below[i] : down));
      if (!kTwo) continue;
      lower[i] += weight[k] * (above[i] + down);
      above[i] = up;
      below[i] = down;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    L::store(out + x + i * kLanes, upper[i]);
    if (kTwo) L::store(out + out_stride + x + i * kLanes, lower[i]);
  }
}

template <int kLanes, int kBlocks, bool kTwo>
SSLFAST_INLINE void down_row(const float* const* rows, const float* weight, int32_t reach, int64_t n, float* out,
                             int64_t out_stride) {
  int64_t x = 0;
  for (; x + kBlocks * kLanes <= n; x += kBlocks * kLanes) {
    down_block<kLanes, kBlocks, kTwo>(rows, weight, reach, x, out, out_stride);
  }
  for (; x + 2 * kLanes <= n; x += 2 * kLanes) {
    down_block<kLanes, 2, kTwo>(rows, weight, reach, x, out, out_stride);
  }
  for (; x < n; x += kLanes) down_block<kLanes, 1, kTwo>(rows, weight, reach, x, out, out_stride);
}

template <int kLanes, int kBlocks>
SSLFAST_INLINE void down_lanes(const float* const* rows, const float* weight, int32_t reach, int64_t count, int64_t n,
                               float* out, int64_t out_stride) {
  int64_t y = 0;
  for (; y + 2 <= count; y += 2) {
    down_row<kLanes, kBlocks, true>(rows + y, weight, reach, n, out + y * out_stride, out_stride);
  }
  if (y < count) down_row<kLanes, kBlocks, false>(rows + y, weight, reach, n, out + y * out_stride, out_stride);
}

// kBlocks of a row from x on.
template <int kLanes, int kBlocks>
SSLFAST_INLINE void put(const typename Lanes<kLanes>::Floats (&sum)[kBlocks], int64_t x, const BlurredRow& to) {
  using L = Lanes<kLanes>;
  float* out = to.out + x;
  const float gain = to.gain, offset = to.offset;
  if (to.stream) {
#pragma GCC unroll 8
    for (int i = 0; i < kBlocks; ++i) L::stream(out + i * kLanes, sum[i] * gain + offset);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < kBlocks; ++i) L::store(out + i * kLanes, sum[i] * gain + offset);
  }
}

// Eight blocks side by side, whose sums do not wait for each other and share the weights.
template <int kLanes>
SSLFAST_INLINE void across_lanes(const float* row, const float* weight, int32_t reach, int64_t n,
                                 const BlurredRow& to) {
  using L = Lanes<kLanes>;
  int64_t x = 0;
  const auto blocks = [&]<int kCount>() __attribute__((always_inline)) {
    typename L::Floats sum[kCount];
    for (int i = 0; i < kCount; ++i) sum[i] = weight[0] * L::load(row + x + i * kLanes);
    for (int32_t k = 1; k <= reach; ++k) {
      const float *before = row + x - k, *after = row + x + k;
      for (int i = 0; i < kCount; ++i)
        sum[i] += weight[k] * (L::load(before + i * kLanes) + L::load(after + i * kLanes));
    }
    put<kLanes>(sum, x, to);
    x += kCount * kLanes;
  };
  while (x + 8 * kLanes <= n) blocks.template operator()<8>();
  if (x + 4 * kLanes <= n) blocks.template operator()<4>();
  if (x + 2 * kLanes <= n) blocks.template operator()<2>();
  while (x < n) blocks.template operator()<1>();
}

#define SSLFAST_LEVEL(name, width, blocks, ...)                                                               \
  struct name {                                                                                               \
    __VA_ARGS__ static void down(const float* const* rows, const float* weight, int32_t reach, int64_t count, \
                                 int64_t n, float* out, int64_t out_stride) {                                 \
      down_lanes<width, blocks>(rows, weight, reach, count, n, out, out_stride);                              \
    }                                                                                                         \
    __VA_ARGS__ static void across(const float* row, const float* weight, int32_t reach, int64_t n,           \
                                   const BlurredRow& to) {                                                    \
      across_lanes<width>(row, weight, reach, n, to);                                                         \
    }                                                                                                         \
  };

SSLFAST_LEVEL(Baseline, 4, 2)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
SSLFAST_LEVEL(V3, 8, 2, __attribute__((target("arch=x86-64-v3"))))
SSLFAST_LEVEL(V4, 16, 4, __attribute__((target("arch=x86-64-v4"))))

#define SSLFAST_V4 __attribute__((target("arch=x86-64-v4")))

constexpr int kMostShift = 15;  // two vectors hold no more

// One tap and its mirror image, kShift pixels away, and those further away.
template <int kShift, int kBlocks>
SSLFAST_V4 SSLFAST_INLINE void add_shifted(__m512i (&window)[kBlocks], const float* row, const float* weight,
                                           int32_t reach, __m512 (&sum)[kBlocks]) {
  if constexpr (kShift == 8) {  // g++ would keep every shift for the one by 16 less it, and spill them all
    for (__m512i& pixels : window) asm("" : "+v"(pixels));
  }
  const __m512 w = _mm512_set1_ps(weight[kShift]);
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) {
    const __m512 before = i == 0 ? _mm512_loadu_ps(row - kShift)
                                 : _mm512_castsi512_ps(_mm512_alignr_epi32(window[i], window[i - 1], 16 - kShift));
    const __m512 after = i == kBlocks - 1 ? _mm512_loadu_ps(row + i * 16 + kShift)
                                          : _mm512_castsi512_ps(_mm512_alignr_epi32(window[i + 1], window[i], kShift));
    sum[i] = _mm512_fmadd_ps(w, _mm512_add_ps(before, after), sum[i]);
  }
  if constexpr (kShift < kMostShift) {
    if (kShift < reach) add_shifted<kShift + 1, kBlocks>(window, row, weight, reach, sum);
  }
}

template <int kBlocks>
SSLFAST_V4 SSLFAST_INLINE void across_blocks(const float* row, const float* weight, int32_t reach, int64_t x,
                                             const BlurredRow& to) {
  row += x;
  __m512i window[kBlocks];
  __m512 sum[kBlocks];
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) window[i] = _mm512_loadu_si512(row + i * 16);
  const __m512 w = _mm512_set1_ps(weight[0]);
#pragma GCC unroll 4
  for (int i = 0; i < kBlocks; ++i) sum[i] = _mm512_mul_ps(w, _mm512_castsi512_ps(window[i]));
  add_shifted<1, kBlocks>(window, row, weight, reach, sum);
  put<16>(sum, x, to);
}

SSLFAST_V4 void across_by_shifts(const float* row, const float* weight, int32_t reach, int64_t n,
                                 const BlurredRow& to) {
  int64_t x = 0;
  for (; x + 64 <= n; x += 64) across_blocks<4>(row, weight, reach, x, to);
  if (x + 32 <= n) across_blocks<2>(row, weight, reach, x, to), x += 32;
  for (; x < n; x += 16) across_blocks<1>(row, weight, reach, x, to);
}
#endif

struct Passes {
  decltype(&blur_down) down;
  decltype(&blur_across) across, across_near;  // the latter for a reach of 1 to 15
};

Passes find_passes() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return {V4::down, V4::across, across_by_shifts};
  if (__builtin_cpu_supports("x86-64-v3")) return {V3::down, V3::across, V3::across};
#endif
  return {Baseline::down, Baseline::across, Baseline::across};
}

const Passes& passes() {
  static const Passes found = find_passes();
  return found;
}

}  // namespace

void blur_down(const float* const* rows, const float* weight, int32_t reach, int64_t count, int64_t n, float* out,
               int64_t out_stride) {
  passes().down(rows, weight, reach, count, n, out, out_stride);
}

void blur_across(const float* row, const float* weight, int32_t reach, int64_t n, const BlurredRow& to) {
  const Passes& found = passes();
  (reach >= 1 && reach <= 15 ? found.across_near : found.across)(row, weight, reach, n, to);
}

}  // namespace sslfast::cpu
