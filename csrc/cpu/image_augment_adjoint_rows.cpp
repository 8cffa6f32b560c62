#include "image_augment_adjoint_rows.h"

#include <algorithm>

#include "isa.h"

#define SSLFAST_INLINE inline __attribute__((always_inline))

namespace sslfast::cpu {
namespace {

using namespace augment;
using Rgb = Pixel<float>;

// Of a clamp to [0, 1], whose ends belong to it.
SSLFAST_INLINE float passed(float value, float grad) { return value >= 0.0f && value <= 1.0f ? grad : 0.0f; }

SSLFAST_INLINE float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f; }

SSLFAST_INLINE Rgb contrast_mask(const Rgb& p, const Rgb& g, float factor, float rest) {
  return {passed(p.r * factor + rest, g.r), passed(p.g * factor + rest, g.g), passed(p.b * factor + rest, g.b)};
}

SSLFAST_INLINE Rgb saturation_back(const Rgb& p, const Rgb& g, float factor, float one_minus_factor) {
  const Rgb m = contrast_mask(p, g, factor, one_minus_factor * gray(p));
  const float rest = one_minus_factor * (m.r + m.g + m.b);
  return {factor * m.r + kGrayRed * rest, factor * m.g + kGrayGreen * rest, factor * m.b + kGrayBlue * rest};
}

// out = low + chroma * trapezoid(h), h = difference / chroma + a constant, so that no derivative divides by the chroma
// but difference / chroma, which lies in [-1, 1]. Colours that are both largest, or smallest, share the gradient.
SSLFAST_INLINE Rgb hue_back(const Rgb& p, const Rgb& g, float turn) {
  const float high = larger(larger(p.r, p.g), p.b), low = smaller(smaller(p.r, p.g), p.b), chroma = high - low;
  const bool red = high == p.r, green = high == p.g;
  const float difference = red ? p.g - p.b : green ? p.b - p.r : p.r - p.g;
  const float slope = difference / larger(chroma, 1e-20f);
  float h = slope + ((red ? 0.0f : green ? 2.0f : 4.0f) + turn);
  h = h < 0.0f ? h + 6.0f : h;
  h = h >= 6.0f ? h - 6.0f : h;
  const Rgb height = {absolute(h - 3.0f) - 1.0f, 2.0f - absolute(h - 2.0f), 2.0f - absolute(h - 4.0f)};
  const float of_chroma = g.r * saturate(height.r) + g.g * saturate(height.g) + g.b * saturate(height.b);
  const float rising = passed(height.r, sign(h - 3.0f)) * g.r - passed(height.g, sign(h - 2.0f)) * g.g -
                       passed(height.b, sign(h - 4.0f)) * g.b;
  const float of_difference = chroma > 0.0f ? rising : 0.0f;
  const float of_high = of_chroma - of_difference * slope, of_low = (g.r + g.g + g.b) - of_high;
  const Rgb is_high = {red ? 1.0f : 0.0f, green ? 1.0f : 0.0f, p.b == high ? 1.0f : 0.0f};
  const Rgb is_low = {p.r == low ? 1.0f : 0.0f, p.g == low ? 1.0f : 0.0f, p.b == low ? 1.0f : 0.0f};
  const float to_high = of_high / (is_high.r + is_high.g + is_high.b);
  const float to_low = of_low / (is_low.r + is_low.g + is_low.b);
  // The difference is of the two colours that follow the largest one around the wheel.
  const float of_red = red ? 0.0f : green ? -of_difference : of_difference;
  const float of_green = red ? of_difference : green ? 0.0f : -of_difference;
  const float of_blue = red ? -of_difference : green ? of_difference : 0.0f;
  return {is_high.r * to_high + is_low.r * to_low + of_red, is_high.g * to_high + is_low.g * to_low + of_green,
          is_high.b * to_high + is_low.b * to_low + of_blue};
}

template <int32_t kCode>
SSLFAST_INLINE Rgb back(const Op& op, const Rgb& p, const Rgb& g) {
  if constexpr (kCode == kOpBrightness) {
    const Rgb m = contrast_mask(p, g, op.a, 0.0f);
    return {m.r * op.a, m.g * op.a, m.b * op.a};
  } else if constexpr (kCode == kOpSaturation) {
    return saturation_back(p, g, op.a, op.b);
  } else if constexpr (kCode == kOpHue) {
    return hue_back(p, g, op.a);
  } else if constexpr (kCode == kOpGray) {
    const float sum = g.r + g.g + g.b;
    return {kGrayRed * sum, kGrayGreen * sum, kGrayBlue * sum};
  } else if constexpr (kCode == kOpSolarize) {
    return {p.r >= op.a ? -g.r : g.r, p.g >= op.a ? -g.g : g.g, p.b >= op.a ? -g.b : g.b};
  } else if constexpr (kCode == kOpInvert) {
    return {-g.r, -g.g, -g.b};
  } else if constexpr (kCode == kOpClamp) {
    return {passed(p.r, g.r), passed(p.g, g.g), passed(p.b, g.b)};
  } else {
    return {g.r * op.table[0], g.g * op.table[2], g.b * op.table[4]};
  }
}

template <int kChannels>
SSLFAST_INLINE Rgb load(const Planes& planes, int64_t x) {
  if constexpr (kChannels == 1) return {planes.plane[0][x], planes.plane[0][x], planes.plane[0][x]};
  return {planes.plane[0][x], planes.plane[1][x], planes.plane[2][x]};
}

template <int kChannels>
SSLFAST_INLINE void store(const Planes& planes, int64_t x, const Rgb& p) {
  planes.plane[0][x] = p.r;
  if constexpr (kChannels == 1) return;
  planes.plane[1][x] = p.g;
  planes.plane[2][x] = p.b;
}

template <int kChannels, int32_t kCode>
SSLFAST_INLINE void forward_row(Op op, const Planes& in, int64_t n, const Planes& out) {
  op.code = kCode;
#pragma GCC ivdep
  for (int64_t x = 0; x < n; ++x) store<kChannels>(out, x, apply(op, load<kChannels>(in, x)));
}

template <int kChannels, int32_t kCode>
SSLFAST_INLINE void back_row(const Op& op, const Planes& values, int64_t n, const Planes& grad) {
#pragma GCC ivdep
  for (int64_t x = 0; x < n; ++x) {
    store<kChannels>(grad, x, back<kCode>(op, load<kChannels>(values, x), load<kChannels>(grad, x)));
  }
}

template <int kChannels>
SSLFAST_INLINE float contrast_row(const Op& op, const Planes& values, int64_t n, const Planes& grad) {
  float sum = 0.0f;
#pragma GCC ivdep
  for (int64_t x = 0; x < n; ++x) {
    const Rgb m = contrast_mask(load<kChannels>(values, x), load<kChannels>(grad, x), op.a, op.b);
    sum += kChannels == 3 ? m.r + m.g + m.b : m.r;
    store<kChannels>(grad, x, {m.r * op.a, m.g * op.a, m.b * op.a});
  }
  return sum;
}

// Calls with<code>() for an operation that works on pixels alone and is not contrast.
template <typename With>
SSLFAST_INLINE void with_code(int32_t code, const With& with) {
  switch (code) {
    case kOpBrightness:
      return with.template operator()<kOpBrightness>();
    case kOpSaturation:
      return with.template operator()<kOpSaturation>();
    case kOpHue:
      return with.template operator()<kOpHue>();
    case kOpGray:
      return with.template operator()<kOpGray>();
    case kOpSolarize:
      return with.template operator()<kOpSolarize>();
    case kOpInvert:
      return with.template operator()<kOpInvert>();
    case kOpClamp:
      return with.template operator()<kOpClamp>();
    default:
      return with.template operator()<kOpStretch>();
  }
}

template <int kChannels>
SSLFAST_INLINE double paint_back_row(const GradientRow& row) {
  const int64_t n = row.n, stride = padded(n);
  const auto before = [&](int32_t k) { return k == 0 ? row.values : row.kept.moved((k - 1) * 3 * stride); };
  for (int32_t k = 0; k < row.ops_of_values - 1; ++k) {
    const Op& op = row.op[k];
    if (op.code == kOpContrast) {
      forward_row<kChannels, kOpContrast>(op, before(k), n, before(k + 1));
      continue;
    }
    with_code(op.code, [&]<int32_t kCode>() __attribute__((always_inline)) {
      forward_row<kChannels, kCode>(op, before(k), n, before(k + 1));
    });
  }
  for (int c = 0; c < kChannels; ++c) {
    const float* from = row.from.plane[c];
    float* out = row.out.plane[c];
    const float gain = row.gain[c], add = row.add[c];
#pragma GCC ivdep
    for (int64_t x = 0; x < n; ++x) out[x] = from[x] * gain + add;
  }
  for (int32_t k = row.ops - 1; k >= 0; --k) {
    const Op& op = row.op[k];
    const Planes values = k < row.ops_of_values ? before(k) : row.out;  // else not read
    if (op.code == kOpContrast) return contrast_row<kChannels>(op, values, n, row.out);
    with_code(op.code, [&]<int32_t kCode>()
                           __attribute__((always_inline)) { back_row<kChannels, kCode>(op, values, n, row.out); });
  }
  return 0;
}

}  // namespace

void Takers::fill(const Table& table, int64_t outputs, int64_t pixels) {
  stride = padded(pixels);
  int32_t* begin = first.at_least(2 * stride);
  int32_t* last = begin + stride;
  std::fill_n(begin, stride, static_cast<int32_t>(outputs));
  std::fill_n(last, stride, -1);
  const auto each = [&](const auto& with) {
    for (int64_t i = table.inside_from; i < table.inside_to; ++i) {
      for (int32_t k = 0; k < table.taps; ++k) {
        const float share = table.weight.get()[k * table.stride + i];
        if (share != 0.0f) with(static_cast<int32_t>(i), table.first.get()[i] + k, share);
      }
    }
  };
  each([&](int32_t i, int32_t j, float) {
    begin[j] = std::min(begin[j], i);
    last[j] = std::max(last[j], i);
  });
  taps = 1;
  for (int64_t j = 0; j < pixels; ++j) taps = std::max(taps, last[j] - begin[j] + 1);
  for (int64_t j = 0; j < stride; ++j) begin[j] = std::min(begin[j], static_cast<int32_t>(outputs) - taps);
  float* weights = weight.at_least(taps * stride);
  std::fill_n(weights, taps * stride, 0.0f);
  each([&](int32_t i, int32_t j, float share) { weights[(i - begin[j]) * stride + j] = share; });
}

SSLFAST_ISA_CLONES void add_rows(const float* __restrict rows, int64_t n, int32_t taps, const float* weight,
                                 int64_t weight_stride, float* __restrict out) {
  const float first = weight[0];
  for (int64_t x = 0; x < n; ++x) out[x] = first * rows[x];
  for (int32_t k = 1; k < taps; ++k) {
    const float w = weight[k * weight_stride];
    if (w == 0.0f) continue;  // most pixels have fewer takers than the one that has most
    const float* row = rows + k * n;
    for (int64_t x = 0; x < n; ++x) out[x] += w * row[x];
  }
}

SSLFAST_ISA_CLONES void take_back(const float* __restrict row, const Takers& takers, int64_t n, float* __restrict out) {
  const int32_t* __restrict first = takers.first.get();
  const float* __restrict weight = takers.weight.get();
  for (int64_t j = 0; j < n; ++j) out[j] = weight[j] * row[first[j]];
  for (int32_t k = 1; k < takers.taps; ++k) {
    const float* w = weight + k * takers.stride;
    for (int64_t j = 0; j < n; ++j) out[j] += w[j] * row[first[j] + k];
  }
}

SSLFAST_ISA_CLONES double paint_back(const GradientRow& row) {
  return row.channels == 3 ? paint_back_row<3>(row) : paint_back_row<1>(row);
}

SSLFAST_ISA_CLONES void add_stretch_sums(const float* grad, const float* value, float factor, float offset, int64_t n,
                                         double* sums) {
  float all = 0.0f, weighed = 0.0f;
  for (int64_t x = 0; x < n; ++x) {
    all += grad[x];
    weighed += grad[x] * (value[x] * factor + offset);
  }
  sums[0] += static_cast<double>(all);
  sums[1] += static_cast<double>(weighed);
}

SSLFAST_ISA_CLONES void sharpen_mask(const float* __restrict above, const float* __restrict row,
                                     const float* __restrict below, float factor, const float* __restrict grad,
                                     int64_t n, float* __restrict out) {
  out[0] = out[n - 1] = 0.0f;
  const float rest = 1.0f - factor;
  for (int64_t x = 1; x < n - 1; ++x) {
    const float around =
        above[x - 1] + above[x] + above[x + 1] + row[x - 1] + row[x + 1] + below[x - 1] + below[x] + below[x + 1];
    const float mean = (around + 5.0f * row[x]) * (1.0f / 13.0f);
    out[x] = passed(row[x] + rest * (mean - row[x]), grad[x]);
  }
}

SSLFAST_ISA_CLONES void sharpen_back(const float* __restrict above, const float* __restrict middle,
                                     const float* __restrict below, float factor, bool inner, int64_t n,
                                     float* __restrict grad) {
  const float share = (1.0f - factor) / 13.0f;
  for (const int64_t x : {int64_t{0}, n - 1}) {
    const int64_t next = x == 0 ? 1 : n - 2;
    grad[x] += share * (above[next] + middle[next] + below[next]);
  }
  for (int64_t x = 1; x < n - 1; ++x) {
    const float around =
        above[x - 1] + above[x] + above[x + 1] + middle[x - 1] + middle[x + 1] + below[x - 1] + below[x] + below[x + 1];
    grad[x] = (inner ? factor * middle[x] : grad[x]) + share * (around + 5.0f * middle[x]);
  }
}

}  // namespace sslfast::cpu
