// The box of one image: torchvision's RandomErasing.make_params, ten tries and then none, from counter-based draws in
// portable double arithmetic. sslfast/reference/random_erase.py repeats the formulae.
#pragma once

#include "portable_double.h"
#include "sslfast/random_erase.h"

namespace sslfast::erase {

using namespace portable;

constexpr uint32_t kTries = 10;  // then counter kTries: whether at all, and the key of the noise

SSLFAST_HD double between(uint32_t word, double low, double high) {
  return add(low, mul(sub(high, low), mul(static_cast<double>(word), 1.0 / 4294967296.0)));
}

SSLFAST_HD void erase_params(const EraseDraw& p, uint64_t seed, uint64_t row, float* out) {
  for (int k = 0; k < kEraseColumns; ++k) out[k] = 0.0f;
  const Words choice = philox(seed, Stream::kErase, row, kTries);
  out[kEraseKeyHigh] = static_cast<float>(choice.word[1] >> 8);
  out[kEraseKeyLow] = static_cast<float>(choice.word[2] >> 8);
  if (!(choice.word[0] < p.threshold)) return;
  const double image_height = static_cast<double>(p.height), image_width = static_cast<double>(p.width);
  for (uint32_t attempt = 0; attempt < kTries; ++attempt) {
    const Words w = philox(seed, Stream::kErase, row, attempt);
    const double area = mul(mul(image_height, image_width), between(w.word[0], p.scale_low, p.scale_high));
    const double ratio = exponential(between(w.word[1], p.log_ratio_low, p.log_ratio_high));
    const double height = round_half_even(square_root(mul(area, ratio)));
    const double width = round_half_even(square_root(div(area, ratio)));
    if (!(height < image_height && width < image_width)) continue;
    const int64_t h = static_cast<int64_t>(height), v = static_cast<int64_t>(width);
    out[kEraseTop] = static_cast<float>(uniform_below(w.word[2], static_cast<uint64_t>(p.height - h + 1)));
    out[kEraseLeft] = static_cast<float>(uniform_below(w.word[3], static_cast<uint64_t>(p.width - v + 1)));
    out[kEraseHeight] = static_cast<float>(h);
    out[kEraseWidth] = static_cast<float>(v);
    return;
  }
}

SSLFAST_HD uint64_t noise_key(const float* params) {
  const auto half = [](float value) -> uint64_t {
    return value > 0.0f ? (value < 16777216.0f ? static_cast<uint64_t>(value) : 16777215) : 0;
  };
  return half(params[kEraseKeyHigh]) << 24 | half(params[kEraseKeyLow]);
}

}  // namespace sslfast::erase
