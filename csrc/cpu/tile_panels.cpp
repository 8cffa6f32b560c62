#include "tile_panels.h"

#include <algorithm>

#include "bf16_lanes.h"
#include "team.h"

#if defined(__x86_64__)

namespace sslfast::cpu {
namespace {

SSLFAST_BF16 inline __attribute__((always_inline)) __mmask32 halves(int64_t count) {
  return count >= 32 ? 0xffffffffu : count <= 0 ? 0 : static_cast<__mmask32>((1u << count) - 1);
}

// Numbers (k, j) for k < depth and j < cols.
SSLFAST_BF16 void pack(const float* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  for (int64_t k = 0; k < depth; ++k, panel += kPanel) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_si512(panel + 16 * v, _mm512_maskz_loadu_epi32(lanes(cols - 16 * v), from + k * stride + 16 * v));
    }
  }
}

SSLFAST_BF16 void pack(const uint16_t* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t k = 0; k < depth; k += 2, panel += kPanel) {
    for (int half = 0; half < 2; ++half) {
      const __mmask32 mask = halves(cols - 32 * half);
      const uint16_t* at = from + k * stride + 32 * half;
      const __m512i first = _mm512_maskz_loadu_epi16(mask, at);
      const __m512i second = k + 1 < depth ? _mm512_maskz_loadu_epi16(mask, at + stride) : _mm512_setzero_si512();
      _mm512_storeu_si512(panel + 32 * half, _mm512_permutex2var_epi16(first, low, second));
      _mm512_storeu_si512(panel + 32 * half + 16, _mm512_permutex2var_epi16(first, high, second));
    }
  }
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512i sixteen_words(const float* from, int64_t count) {
  return _mm512_maskz_loadu_epi32(lanes(count), from);
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512i sixteen_words(const uint16_t* from, int64_t count) {
  return _mm512_maskz_loadu_epi16(halves(count), from);
}

// The same where number (k, j) is at from + j * stride + k: squares of 16 x 16 words are transposed in registers.
template <typename T>
SSLFAST_BF16 void pack_transposed(const T* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  constexpr int64_t kSquare = 16 * kPerWord<T>;
  for (int64_t k = 0; k < depth; k += kSquare) {
    const int64_t words = std::min<int64_t>(16, (depth - k + kPerWord<T> - 1) / kPerWord<T>);
    for (int v = 0; v < kVectors; ++v) {
      __m512i a[16], b[16];
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
        a[j] = 16 * v + j < cols ? sixteen_words(from + (16 * v + j) * stride + k, depth - k) : _mm512_setzero_si512();
      }
#pragma GCC unroll 8
      for (int j = 0; j < 16; j += 2) {
        b[j] = _mm512_unpacklo_epi32(a[j], a[j + 1]);
        b[j + 1] = _mm512_unpackhi_epi32(a[j], a[j + 1]);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 16; j += 4) {
        a[j] = _mm512_unpacklo_epi64(b[j], b[j + 2]);
        a[j + 1] = _mm512_unpackhi_epi64(b[j], b[j + 2]);
        a[j + 2] = _mm512_unpacklo_epi64(b[j + 1], b[j + 3]);
        a[j + 3] = _mm512_unpackhi_epi64(b[j + 1], b[j + 3]);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        b[j] = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x88);
        b[j + 4] = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xdd);
        b[j + 8] = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x88);
        b[j + 12] = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xdd);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        a[j] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88);
        a[j + 8] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd);
        a[j + 4] = _mm512_shuffle_i32x4(b[j + 4], b[j + 12], 0x88);
        a[j + 12] = _mm512_shuffle_i32x4(b[j + 4], b[j + 12], 0xdd);
      }
#pragma GCC unroll 16
      for (int w = 0; w < 16; ++w) {
        if (w < words) _mm512_storeu_si512(panel + w * kPanel + 16 * v, a[w]);
      }
    }
    panel += 16 * kPanel;
  }
}

}  // namespace

template <typename T>
void pack_panel(const RightFactor<T>& right, int64_t col0, int64_t width, int64_t k, int64_t numbers, int32_t* panel) {
  if (right.transposed) {
    pack_transposed(right.data + col0 * right.stride + k, right.stride, numbers, width, panel);
  } else {
    pack(right.data + k * right.stride + col0, right.stride, numbers, width, panel);
  }
}

template void pack_panel(const RightFactor<float>&, int64_t, int64_t, int64_t, int64_t, int32_t*);
template void pack_panel(const RightFactor<uint16_t>&, int64_t, int64_t, int64_t, int64_t, int32_t*);

namespace {

template <typename T>
void pack_all(const RightFactor<T>& right, int64_t depth, int64_t cols, int32_t* packed, int threads) {
  const int64_t steps = right.steps(depth);
  share_out(right.panels(cols) * steps, threads, [&](int64_t item) {
    const int64_t col0 = item / steps * kPanel, k = item % steps * kStep<T>;
    pack_panel(right, col0, std::min(kPanel, cols - col0), k, std::min(kStep<T>, depth - k),
               packed + item * kDepth * kPanel);
  });
}

}  // namespace

void pack(const RightFactor<float>& right, int64_t depth, int64_t cols, int32_t* packed, int threads) {
  pack_all(right, depth, cols, packed, threads);
}
void pack(const RightFactor<uint16_t>& right, int64_t depth, int64_t cols, int32_t* packed, int threads) {
  pack_all(right, depth, cols, packed, threads);
}

}  // namespace sslfast::cpu

#else

namespace sslfast::cpu {

void pack(const RightFactor<float>&, int64_t, int64_t, int32_t*, int) {}
void pack(const RightFactor<uint16_t>&, int64_t, int64_t, int32_t*, int) {}

}  // namespace sslfast::cpu

#endif
