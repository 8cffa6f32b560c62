#include "image_augment_rows.h"

#include <algorithm>

#include "image_augment_lanes.h"
#include "isa.h"

namespace sslfast::cpu {

using namespace augment;

namespace {

// The loops for one instruction set. target_clones would serve but for templates and the width, which differs.
#define SSLFAST_LEVEL(name, width, ...)                                                                           \
  struct name {                                                                                                   \
    template <int kChannels>                                                                                      \
    __VA_ARGS__ static void resample(const Planes& rows, const Table& table, const Planes& out, int64_t n) {      \
      resample_window<width, kChannels>(rows, table, out, n);                                                     \
    }                                                                                                             \
    template <int kChannels>                                                                                      \
    __VA_ARGS__ static double paint(const Row& row) {                                                             \
      return paint_lanes<width, kChannels>(row);                                                                  \
    }                                                                                                             \
    __VA_ARGS__ static void down(const float* const* rows, const float* weight, int32_t reach, int64_t n,         \
                                 float* out) {                                                                    \
      blur_lanes<width>([&](int32_t k) { return rows[k]; }, weight, reach, n, out);                               \
    }                                                                                                             \
    __VA_ARGS__ static void across(const float* row, const float* weight, int32_t reach, int64_t n, float* out) { \
      blur_lanes<width>([&](int32_t k) { return row + k; }, weight, reach, n, out);                               \
    }                                                                                                             \
  };

SSLFAST_LEVEL(Baseline, 4)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
SSLFAST_LEVEL(V3, 8, __attribute__((target("arch=x86-64-v3"))))
SSLFAST_LEVEL(V4, 16, __attribute__((target("arch=x86-64-v4"))))

int find_lanes() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("x86-64-v4") ? 16 : __builtin_cpu_supports("x86-64-v3") ? 8 : 4;
}

// Calls with(level) for the best level of this CPU.
template <typename With>
auto at_level(With with) {
  static const int lanes = find_lanes();
  return lanes == 16 ? with(V4{}, 16) : lanes == 8 ? with(V3{}, 8) : with(Baseline{}, 4);
}
#else
template <typename With>
auto at_level(With with) {
  return with(Baseline{}, 4);
}
#endif

// What a pixel is multiplied by to lie in [0, 1].
template <typename In>
constexpr float unit() {
  return sizeof(In) == 1 ? 1.0f / 255.0f : 1.0f;
}

SSLFAST_ISA_CLONES void resample_gather(const float* __restrict row, const Table& table, float* __restrict out,
                                        int64_t n) {
  const int32_t* __restrict first = table.first.get();
  const float* __restrict weight = table.weight.get();
  for (int64_t x = 0; x < n; ++x) out[x] = weight[x] * row[first[x]];
  for (int32_t k = 1; k < table.taps; ++k) {
    const float* w = weight + k * table.stride;
    for (int64_t x = 0; x < n; ++x) out[x] += w[x] * row[first[x] + k];
  }
}

// The last block overlaps the one before it, so that there is no loop over a rest.
template <int kTaps, typename In>
SSLFAST_INLINE void average(const In* __restrict pixels, int64_t row_stride, int64_t n, const float* weight,
                            int64_t weight_stride, float* __restrict out) {
  constexpr int64_t kBlock = 16;
  float w[kTaps];
  for (int k = 0; k < kTaps; ++k) w[k] = weight[k * weight_stride] * unit<In>();
  const auto sum = [&](int64_t x) __attribute__((always_inline)) {
    float value = 0.0f;
    for (int k = 0; k < kTaps; ++k) value += w[k] * static_cast<float>(pixels[k * row_stride + x]);
    out[x] = value;
  };
  const int64_t whole = n / kBlock * kBlock;
  for (int64_t x = 0; x < whole; ++x) sum(x);
  if (whole == 0) {
    for (int64_t x = 0; x < n; ++x) sum(x);
  } else if (whole < n) {
    for (int64_t x = 0; x < kBlock; ++x) sum(n - kBlock + x);
  }
}

template <typename In>
SSLFAST_INLINE void average_any(const In* pixels, int64_t row_stride, int64_t n, int32_t taps, const float* weight,
                                int64_t weight_stride, float* __restrict out) {
  switch (taps) {
    case 1:
      return average<1>(pixels, row_stride, n, weight, weight_stride, out);
    case 2:
      return average<2>(pixels, row_stride, n, weight, weight_stride, out);
    case 3:
      return average<3>(pixels, row_stride, n, weight, weight_stride, out);
    default:
      average<4>(pixels, row_stride, n, weight, weight_stride, out);
  }
  for (int32_t k = 4; k < taps; ++k) {
    const float w = weight[k * weight_stride] * unit<In>();
    const In* row = pixels + k * row_stride;
    for (int64_t x = 0; x < n; ++x) out[x] += w * static_cast<float>(row[x]);
  }
}

}  // namespace

void Table::fill(const Axis& axis, int64_t offset, int64_t n, bool reversed) {
  taps = axis.taps;
  stride = padded(n);
  inside_from = n;
  inside_to = 0;
  int32_t* starts = first.at_least(stride);
  float* weights = weight.at_least(taps * stride);
  for (int64_t slot = 0; slot < n; ++slot) {
    const int64_t wanted = offset + (reversed ? n - 1 - slot : slot);
    const bool inside = wanted >= 0 && wanted < axis.target;
    const auto i = static_cast<int32_t>(std::clamp<int64_t>(wanted, 0, axis.target - 1));
    starts[slot] = axis.first(i);
    float sum = 0.0f;
    for (int32_t k = 0; k < taps; ++k) sum += weights[k * stride + slot] = axis.weight(i, starts[slot] + k);
    const float share = inside ? 1.0f / sum : 0.0f;
    for (int32_t k = 0; k < taps; ++k) weights[k * stride + slot] *= share;
    if (!inside) continue;
    inside_from = std::min(inside_from, slot);
    inside_to = slot + 1;
  }
  for (int64_t slot = n; slot < stride; ++slot) {
    starts[slot] = starts[n - 1];
    for (int32_t k = 0; k < taps; ++k) weights[k * stride + slot] = 0.0f;
  }
  const int lanes = at_level([](auto, int width) { return width; });
  windowed = lanes > 4;  // below that no instruction shuffles by variable indices
  int32_t *bases = base.at_least(stride), *shifts = shift.at_least(stride);
  for (int64_t x = 0; x < stride; x += lanes) {
    const auto [low, high] = std::minmax(starts[x], starts[x + lanes - 1]);
    bases[x / lanes] = low;
    for (int64_t i = x; i < x + lanes; ++i) shifts[i] = starts[i] - low;
    windowed &= high - low + taps <= 2 * lanes;
  }
}

SSLFAST_ISA_CLONES void unpack_rgb(const uint8_t* __restrict pixels, int64_t n, uint8_t* __restrict r,
                                   uint8_t* __restrict g, uint8_t* __restrict b) {
  for (int64_t x = 0; x < n; ++x) {
    r[x] = pixels[3 * x];
    g[x] = pixels[3 * x + 1];
    b[x] = pixels[3 * x + 2];
  }
}

SSLFAST_ISA_CLONES void average_rows(const uint8_t* pixels, int64_t row_stride, int64_t n, int32_t taps,
                                     const float* weight, int64_t weight_stride, float* out) {
  average_any(pixels, row_stride, n, taps, weight, weight_stride, out);
}

SSLFAST_ISA_CLONES void average_rows(const float* pixels, int64_t row_stride, int64_t n, int32_t taps,
                                     const float* weight, int64_t weight_stride, float* out) {
  average_any(pixels, row_stride, n, taps, weight, weight_stride, out);
}

void resample(const Planes& rows, int64_t channels, const Table& table, const Planes& out, int64_t n) {
  if (!table.windowed) {
    for (int64_t c = 0; c < channels; ++c) resample_gather(rows.plane[c], table, out.plane[c], n);
    return;
  }
  at_level([&](auto level, int) {
    using Level = decltype(level);
    channels == 3 ? Level::template resample<3>(rows, table, out, n) : Level::template resample<1>(rows, table, out, n);
  });
}

double paint(const Row& row) {
  return at_level([&](auto level, int) {
    using Level = decltype(level);
    return row.channels == 3 ? Level::template paint<3>(row) : Level::template paint<1>(row);
  });
}

void blur_down(const float* const* rows, const float* weight, int32_t reach, int64_t n, float* out) {
  at_level([&](auto level, int) { decltype(level)::down(rows, weight, reach, n, out); });
}

void blur_across(const float* row, const float* weight, int32_t reach, int64_t n, float* out) {
  at_level([&](auto level, int) { decltype(level)::across(row, weight, reach, n, out); });
}

SSLFAST_ISA_CLONES void sharpen(const float* __restrict above, const float* __restrict row,
                                const float* __restrict below, float factor, int64_t n, float* __restrict out) {
  out[0] = row[0];
  out[n - 1] = row[n - 1];
  const float rest = 1.0f - factor;
  for (int64_t x = 1; x < n - 1; ++x) {
    const float around =
        above[x - 1] + above[x] + above[x + 1] + row[x - 1] + row[x + 1] + below[x - 1] + below[x] + below[x + 1];
    const float mean = (around + 5.0f * row[x]) * (1.0f / 13.0f), value = row[x] + rest * (mean - row[x]);
    out[x] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
  }
}

}  // namespace sslfast::cpu
