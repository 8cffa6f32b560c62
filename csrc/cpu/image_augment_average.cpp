// Averages of source rows, the way of every pixel into a view. Bytes become floats by one instruction for as many lanes
// as there are, which g++ finds neither for its own vectors nor for a loop: it unpacks them step by step.
#include <cstring>

#include "image_augment_rows.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#endif

namespace sslfast::cpu {
namespace {

// What a pixel is multiplied by to lie in [0, 1].
template <typename In>
constexpr float unit() {
  return sizeof(In) == 1 ? 1.0f / 255.0f : 1.0f;
}

// kTaps rows, and with kMore what is in `out` already.
template <int kTaps, bool kMore, typename In>
inline void average_pixels(const In* pixels, int64_t row_stride, int64_t n, const float* w, float* out) {
  for (int64_t x = 0; x < n; ++x) {
    float value = kMore ? out[x] : 0.0f;
    for (int k = 0; k < kTaps; ++k) value += w[k] * static_cast<float>(pixels[k * row_stride + x]);
    out[x] = value;
  }
}

struct Baseline {
  template <int kTaps, bool kMore, typename In>
  static void row(const In* pixels, int64_t row_stride, int64_t n, const float* w, float* out) {
    average_pixels<kTaps, kMore>(pixels, row_stride, n, w, out);
  }
};

// The last block overlaps the one before it, so that there is no loop over a rest; it is computed before another adds
// to what is there.
#define SSLFAST_LEVEL(name, Floats, widen_bytes, ...)                                                                \
  struct name {                                                                                                      \
    __VA_ARGS__ static inline Floats widen(const uint8_t* pixels) { return widen_bytes; }                            \
    __VA_ARGS__ static inline Floats widen(const float* pixels) {                                                    \
      Floats value;                                                                                                  \
      std::memcpy(&value, pixels, sizeof(value));                                                                    \
      return value;                                                                                                  \
    }                                                                                                                \
    template <int kTaps, bool kMore, typename In>                                                                    \
    __VA_ARGS__ static inline Floats block(const In* pixels, int64_t row_stride, const float* w, const float* out) { \
      Floats value = w[0] * widen(pixels);                                                                           \
      for (int k = 1; k < kTaps; ++k) value += w[k] * widen(pixels + k * row_stride);                                \
      return kMore ? value + widen(out) : value;                                                                     \
    }                                                                                                                \
    template <int kTaps, bool kMore, typename In>                                                                    \
    __VA_ARGS__ static void row(const In* pixels, int64_t row_stride, int64_t n, const float* w, float* out) {       \
      constexpr int64_t kLanes = sizeof(Floats) / 4;                                                                 \
      if (n < kLanes) return average_pixels<kTaps, kMore>(pixels, row_stride, n, w, out);                            \
      const int64_t rest = n - kLanes;                                                                               \
      const Floats last = block<kTaps, kMore>(pixels + rest, row_stride, w, out + rest);                             \
      for (int64_t x = 0; x <= rest; x += kLanes) {                                                                  \
        const Floats value = block<kTaps, kMore>(pixels + x, row_stride, w, out + x);                                \
        std::memcpy(out + x, &value, sizeof(value));                                                                 \
      }                                                                                                              \
      std::memcpy(out + rest, &last, sizeof(last));                                                                  \
    }                                                                                                                \
  };

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
SSLFAST_LEVEL(V3, __m256,
              _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels)))),
              __attribute__((target("arch=x86-64-v3"))))
SSLFAST_LEVEL(V4, __m512,
              _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels)))),
              __attribute__((target("arch=x86-64-v4"))))
#endif

template <typename Level, int kTaps, typename In>
void average(const SourceRows<In>& from, int64_t channels, int32_t taps, const float* weight, int64_t weight_stride,
             int64_t count, const Planes& out, int64_t out_stride) {
  float w[kTaps];
  for (int k = 0; k < kTaps; ++k) w[k] = weight[k * weight_stride] * unit<In>();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < count; ++r) {
      const In* pixels = from.pixels + c * from.channel_stride + r * from.row_stride;
      float* row = out.plane[c] + r * out_stride;
      Level::template row<kTaps, false>(pixels, from.row_stride, from.width, w, row);
      for (int32_t k = kTaps; k < taps; ++k) {
        const float more = weight[k * weight_stride] * unit<In>();
        Level::template row<1, true>(pixels + k * from.row_stride, from.row_stride, from.width, &more, row);
      }
    }
  }
}

template <typename Level, typename In>
void average_any(const SourceRows<In>& from, int64_t channels, int32_t taps, const float* weight, int64_t weight_stride,
                 int64_t count, const Planes& out, int64_t out_stride) {
  const auto with = taps == 1   ? average<Level, 1, In>
                    : taps == 2 ? average<Level, 2, In>
                    : taps == 3 ? average<Level, 3, In>
                                : average<Level, 4, In>;
  with(from, channels, taps, weight, weight_stride, count, out, out_stride);
}

template <typename In>
auto average_here() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return average_any<V4, In>;
  if (__builtin_cpu_supports("x86-64-v3")) return average_any<V3, In>;
#endif
  return average_any<Baseline, In>;
}

}  // namespace

void average_rows(const SourceRows<uint8_t>& from, int64_t channels, int32_t taps, const float* weight,
                  int64_t weight_stride, int64_t count, const Planes& out, int64_t out_stride) {
  static const auto average = average_here<uint8_t>();
  average(from, channels, taps, weight, weight_stride, count, out, out_stride);
}

void average_rows(const SourceRows<float>& from, int64_t channels, int32_t taps, const float* weight,
                  int64_t weight_stride, int64_t count, const Planes& out, int64_t out_stride) {
  static const auto average = average_here<float>();
  average(from, channels, taps, weight, weight_stride, count, out, out_stride);
}

}  // namespace sslfast::cpu
