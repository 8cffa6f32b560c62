#include "image_augment_rows.h"

#include <algorithm>
#include <cmath>

#include "image_augment_lanes.h"
#include "isa.h"

namespace sslfast::cpu {

using namespace augment;

namespace {

// The loops for one instruction set. target_clones would serve but for templates and the width, which differs.
#define SSLFAST_LEVEL(name, width, ...)                                                                     \
  struct name {                                                                                             \
    template <int kChannels>                                                                                \
    __VA_ARGS__ static void resample(const Planes& rows, int64_t stride, int64_t count, const Table& table, \
                                     const Planes& out, int64_t out_stride, int64_t n) {                    \
      for (int64_t k = 0; k < count; ++k) {                                                                 \
        resample_window<width, kChannels>(rows.moved(k * stride), table, out.moved(k * out_stride), n);     \
      }                                                                                                     \
    }                                                                                                       \
    template <int kChannels>                                                                                \
    __VA_ARGS__ static double paint(const Row& row) {                                                       \
      return paint_lanes<width, kChannels>(row);                                                            \
    }                                                                                                       \
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

}  // namespace

namespace {

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

// What Axis says of the first tap and the weights of a linear filter, of every output: its whole numbers as doubles,
// which hold them and their quotients exactly, so that the loops become vector instructions.
SSLFAST_ISA_CLONES void linear_taps(const Axis& axis, double begin, double step, int64_t n, int64_t stride,
                                    int32_t* __restrict starts, float* __restrict weights) {
  const double source = axis.source, target = axis.target, unit = axis.unit, last = axis.source - axis.taps;
  const auto centre = [&](int64_t slot) __attribute__((always_inline)) {
    const double wanted = begin + step * static_cast<double>(slot), most = target - 1.0;
    const double inside = wanted < 0.0 ? 0.0 : wanted > most ? most : wanted;
    return (2.0 * inside + 1.0) * source;
  };
  for (int64_t slot = 0; slot < n; ++slot) {
    const double tap = (centre(slot) - unit + target) / (2.0 * target);
    starts[slot] = static_cast<int32_t>(tap < 0.0 ? 0.0 : tap > last ? last : tap);
  }
  for (int32_t k = 0; k < axis.taps; ++k) {
    for (int64_t slot = 0; slot < n; ++slot) {
      const double tap = starts[slot] + k, distance = std::fabs((2.0 * tap + 1.0) * target - centre(slot));
      weights[k * stride + slot] = static_cast<float>(distance < unit ? unit - distance : 0.0);
    }
  }
}

// Weights that were heights of the filter, divided by the sum of those of their output.
SSLFAST_ISA_CLONES void share_out(int32_t taps, int64_t n, int64_t stride, float* __restrict weights,
                                  float* __restrict share) {
  for (int64_t slot = 0; slot < n; ++slot) share[slot] = weights[slot];
  for (int32_t k = 1; k < taps; ++k) {
    for (int64_t slot = 0; slot < n; ++slot) share[slot] += weights[k * stride + slot];
  }
  for (int64_t slot = 0; slot < n; ++slot) share[slot] = 1.0f / share[slot];
  for (int32_t k = 0; k < taps; ++k) {
    for (int64_t slot = 0; slot < n; ++slot) weights[k * stride + slot] *= share[slot];
  }
}

}  // namespace

void Table::fill(const Axis& axis, int64_t offset, int64_t n, bool reversed, int32_t padding) {
  taps = axis.taps;
  stride = padded(n);
  int32_t* starts = first.at_least(stride);
  float* weights = weight.at_least(taps * stride);
  const int64_t begin = reversed ? offset + n - 1 : offset, step = reversed ? -1 : 1;
  const bool inside =
      begin >= 0 && begin < axis.target && begin + step * (n - 1) >= 0 && begin + step * (n - 1) < axis.target;
  const bool places = padding != kConstant && !inside;  // which do not ascend or descend
  if (axis.filter == kBilinear && !places) {
    linear_taps(axis, static_cast<double>(begin), static_cast<double>(step), n, stride, starts, weights);
  } else {
    for (int64_t slot = 0; slot < n; ++slot) {
      const int64_t wanted = begin + step * slot;
      const auto i = static_cast<int32_t>(places ? padded_place(wanted, axis.target, padding)
                                                 : std::clamp<int64_t>(wanted, 0, axis.target - 1));
      starts[slot] = axis.first(i);
      for (int32_t k = 0; k < taps; ++k) weights[k * stride + slot] = axis.weight(i, starts[slot] + k);
    }
  }
  share_out(taps, n, stride, weights, share.at_least(stride));
  inside_from = std::clamp<int64_t>(reversed ? begin - axis.target + 1 : -begin, 0, n);
  inside_to = std::clamp<int64_t>(reversed ? begin + 1 : axis.target - begin, 0, n);
  if (inside_from >= inside_to) inside_from = n, inside_to = 0;
  if (places) inside_from = 0, inside_to = n;
  for (int32_t k = 0; k < taps; ++k) {
    float* row = weights + k * stride;
    std::fill(row, row + std::min(inside_from, n), 0.0f);
    std::fill(row + inside_to, row + stride, 0.0f);
  }
  std::fill(starts + n, starts + stride, starts[n - 1]);
  const int lanes = at_level([](auto, int width) { return width; });
  window = 0;
  int32_t *bases = base.at_least(stride), *shifts = shift.at_least(stride);
  for (int64_t x = 0; x < stride; x += lanes) {
    auto [low, high] = std::minmax({starts[x], starts[x + lanes - 1]});
    for (int64_t i = x; i < x + lanes && places; ++i) low = std::min(low, starts[i]), high = std::max(high, starts[i]);
    bases[x / lanes] = low;
    for (int64_t i = x; i < x + lanes; ++i) shifts[i] = starts[i] - low;
    window = std::max(window, high - low + taps);
  }
  windowed = lanes > 4 && window <= 2 * lanes;  // of 4, no instruction shuffles by variable indices
}

SSLFAST_ISA_CLONES void unpack_rgb(const uint8_t* __restrict pixels, int64_t n, uint8_t* __restrict r,
                                   uint8_t* __restrict g, uint8_t* __restrict b) {
  for (int64_t x = 0; x < n; ++x) {
    r[x] = pixels[3 * x];
    g[x] = pixels[3 * x + 1];
    b[x] = pixels[3 * x + 2];
  }
}

void resample_rows(const Planes& rows, int64_t stride, int64_t channels, int64_t count, const Table& table,
                   const Planes& out, int64_t out_stride, int64_t n) {
  if (!table.windowed) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t k = 0; k < count; ++k) {
        resample_gather(rows.plane[c] + k * stride, table, out.plane[c] + k * out_stride, n);
      }
    }
    return;
  }
  at_level([&](auto level, int) {
    using Level = decltype(level);
    const auto resample = channels == 3 ? Level::template resample<3> : Level::template resample<1>;
    resample(rows, stride, count, table, out, out_stride, n);
  });
}

double paint(const Row& row) {
  return at_level([&](auto level, int) {
    using Level = decltype(level);
    return row.channels == 3 ? Level::template paint<3>(row) : Level::template paint<1>(row);
  });
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
