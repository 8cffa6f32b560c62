// Rows of bytes resized across as they are: a permutation of 64 bytes picks one tap of 16 outputs and widens it, so
// that no row of floats is written and read again between. Only AVX-512 VBMI has that permutation. Loads masked to the
// row's end would spare its readable bytes behind that, but took half as long again as all of this.
#include "image_augment_rows.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#endif

namespace sslfast::cpu {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
namespace {

#define SSLFAST_VBMI __attribute__((target("arch=x86-64-v4,avx512vbmi")))

constexpr int kLanes = 16;

// The bytes of a 32-bit lane that hold a pixel, of every lane.
constexpr uint64_t kLowBytes = 0x1111111111111111;

// kTaps as a constant, or 0: any.
template <int kChannels, int kTaps>
SSLFAST_VBMI void resample(const SourceRows<uint8_t>& row, const Table& table, const Planes& out, int64_t n) {
  const int32_t taps = kTaps > 0 ? kTaps : table.taps;
  const int32_t *base = table.base.get(), *shift = table.shift.get();
  const float* weight = table.weight.get();
  const int64_t stride = table.stride;
  const uint8_t* from[kChannels];
  float* to[kChannels];
  for (int c = 0; c < kChannels; ++c) from[c] = row.pixels + c * row.channel_stride, to[c] = out.plane[c];
  const __m512i one = _mm512_set1_epi32(1);
  for (int64_t x = 0; x < n; x += kLanes) {
    const int64_t first = base[x / kLanes];
    __m512i index = _mm512_load_si512(shift + x);
    __m512i bytes[kChannels];
    __m512 sum[kChannels];
#pragma GCC unroll 4
    for (int c = 0; c < kChannels; ++c) bytes[c] = _mm512_loadu_si512(from[c] + first);
    __m512 w = _mm512_load_ps(weight + x);
#pragma GCC unroll 4
    for (int c = 0; c < kChannels; ++c) {
      sum[c] = _mm512_mul_ps(w, _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(kLowBytes, index, bytes[c])));
    }
#pragma GCC unroll 4
    for (int32_t k = 1; k < taps; ++k) {
      index = _mm512_add_epi32(index, one);
      w = _mm512_load_ps(weight + k * stride + x);
#pragma GCC unroll 4
      for (int c = 0; c < kChannels; ++c) {
        const __m512 pixels = _mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(kLowBytes, index, bytes[c]));
        sum[c] = _mm512_fmadd_ps(w, pixels, sum[c]);
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < kChannels; ++c) _mm512_store_ps(to[c] + x, sum[c]);
  }
}

bool find_permutation() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vbmi");
}

}  // namespace

bool resamples_bytes(const Table& table) {
  static const bool here = find_permutation();
  return here && table.window <= kByteWindow;
}

void resample_bytes(const SourceRows<uint8_t>& row, int64_t channels, const Table& table, const Planes& out,
                    int64_t n) {
  const bool two = table.taps == 2;
  const auto with = channels == 3 ? (two ? resample<3, 2> : resample<3, 0>) : two ? resample<1, 2> : resample<1, 0>;
  with(row, table, out, n);
}
#else
bool resamples_bytes(const Table&) { return false; }

void resample_bytes(const SourceRows<uint8_t>&, int64_t, const Table&, const Planes&, int64_t) {}
#endif

}  // namespace sslfast::cpu
