#include "image_augment_rows.h"

#include <algorithm>

#include "image_augment_lanes.h"
#include "isa.h"

namespace sslfast::cpu {

using namespace augment;

namespace {

// The loops for one instruction set. target_clones would serve but for templates and the width, which differs.
#define SSLFAST_LEVEL(name, width, ...)                                                                      \
  struct name {                                                                                              \
    template <int kChannels>                                                                                 \
    __VA_ARGS__ static void resample(const Planes& rows, const Table& table, const Planes& out, int64_t n) { \
      resample_window<width, kChannels>(rows, table, out, n);                                                \
    }                                                                                                        \
    template <int kChannels, typename Out>                                                                   \
    __VA_ARGS__ static double paint(const Row<Out>& row, const View& v, const ImageAugment<Out>& p) {        \
      return paint_lanes<width, kChannels>(row, v, p);                                                       \
    }                                                                                                        \
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

// 1 / 255 turns a byte into [0, 1]. The last block overlaps the one before it, so that there is no loop over a rest.
template <int kTaps>
SSLFAST_INLINE void average(const uint8_t* __restrict pixels, int64_t row_stride, int64_t n, const float* weight,
                            int64_t weight_stride, float* __restrict out) {
  constexpr int64_t kBlock = 16;
  float w[kTaps];
  for (int k = 0; k < kTaps; ++k) w[k] = weight[k * weight_stride] * (1.0f / 255.0f);
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

}  // namespace

Table::Table(int64_t largest_source, int64_t target)
    : stride(padded(target)),
      first(new int32_t[stride]()),
      base(new int32_t[stride]),
      offset(new int32_t[stride]),
      weight(new float[Axis(largest_source, target).taps * stride]()) {}

void Table::fill(const Axis& axis, bool reversed) {
  taps = axis.taps;
  for (int32_t i = 0; i < axis.target; ++i) {
    const int64_t slot = reversed ? axis.target - 1 - i : i;
    first[slot] = axis.first(i);
    const int32_t nearest = axis.distance(i, first[slot]);
    int64_t sum = 0;
    for (int32_t k = 0; k < taps; ++k) sum += axis.weight(nearest + 2 * k * axis.target);
    const float share = 1.0f / static_cast<float>(sum);
    for (int32_t k = 0; k < taps; ++k) {
      weight[k * stride + slot] = static_cast<float>(axis.weight(nearest + 2 * k * axis.target)) * share;
    }
  }
  std::fill(first.get() + axis.target, first.get() + stride, first[axis.target - 1]);
  const int lanes = at_level([](auto, int width) { return width; });
  windowed = lanes > 4;  // below that no instruction shuffles by variable indices
  for (int64_t x = 0; x < stride; x += lanes) {
    const auto [low, high] = std::minmax(first[x], first[x + lanes - 1]);
    base[x / lanes] = low;
    for (int64_t i = x; i < x + lanes; ++i) offset[i] = first[i] - low;
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
                                     const float* weight, int64_t weight_stride, float* __restrict out) {
  switch (taps) {
    case 1:
      return average<1>(pixels, row_stride, n, weight, weight_stride, out);
    case 2:
      return average<2>(pixels, row_stride, n, weight, weight_stride, out);
    default:
      average<3>(pixels, row_stride, n, weight, weight_stride, out);
  }
  for (int32_t k = 3; k < taps; ++k) {
    const float w = weight[k * weight_stride] * (1.0f / 255.0f);
    const uint8_t* row = pixels + k * row_stride;
    for (int64_t x = 0; x < n; ++x) out[x] += w * static_cast<float>(row[x]);
  }
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

template <typename Out>
double paint(const Row<Out>& row, const View& v, const ImageAugment<Out>& p) {
  return at_level([&](auto level, int) {
    using Level = decltype(level);
    return p.channels == 3 ? Level::template paint<3>(row, v, p) : Level::template paint<1>(row, v, p);
  });
}

template double paint(const Row<float>&, const View&, const ImageAugment<float>&);
template double paint(const Row<BFloat16>&, const View&, const ImageAugment<BFloat16>&);

}  // namespace sslfast::cpu
