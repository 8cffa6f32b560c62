// How images of a batch are mixed, from counter-based draws in portable double arithmetic: equal bits on the CPU and
// the GPU. sslfast/reference/batch_mix.py repeats the formulae.
//
// A symmetric Beta variable costs four words and no rejection. For alpha >= 1 it is (1 + R cos A) / 2, where A is a
// uniform angle and R = sqrt(1 - U^(1 / (alpha - 1/2))): the projection of a point in the disk whose density is
// (1 - r^2)^(alpha - 3/2), Ulrich's method. For alpha < 1 that of alpha + 1, as the ratio of two Gamma variables, each
// of which becomes a Gamma of alpha when multiplied by V^(1 / alpha).
#pragma once

#include "portable_double.h"
#include "random_order.h"
#include "sslfast/batch_mix.h"

namespace sslfast::mix {

using namespace portable;

// In (0, 1), never either.
SSLFAST_HD double inner_uniform(uint32_t word) { return mul(add(static_cast<double>(word), 0.5), 1.0 / 4294967296.0); }

// cos(2 pi t) for t in (0, 1), to about 1e-15: t = k / 4 + r, then the Taylor series of the sine or cosine of 2 pi r.
SSLFAST_HD double cosine_of_turn(double t) {
  const double k = round_half_even(mul(4.0, t));
  const double r = mul(6.283185307179586, sub(t, mul(0.25, k))), square = mul(r, r);
  const int quarter = static_cast<int>(k) & 3;
  double series = 1.0;
  if (quarter & 1) {
    for (int n = 19; n >= 3; n -= 2) series = sub(1.0, div(mul(series, square), n * (n - 1)));
    series = mul(series, r);
    return quarter == 1 ? -series : series;
  }
  for (int n = 18; n >= 2; n -= 2) series = sub(1.0, div(mul(series, square), n * (n - 1)));
  return quarter == 0 ? series : -series;
}

SSLFAST_HD double symmetric_beta(double alpha, const Words& w) {
  const double a = alpha < 1.0 ? add(alpha, 1.0) : alpha;
  const double radius = square_root(sub(1.0, exponential(div(logarithm(inner_uniform(w.word[1])), sub(a, 0.5)))));
  const double beta = mul(0.5, add(1.0, mul(radius, cosine_of_turn(inner_uniform(w.word[0])))));
  if (!(alpha < 1.0)) return beta;
  double exponent = div(sub(logarithm(inner_uniform(w.word[3])), logarithm(inner_uniform(w.word[2]))), alpha);
  exponent = exponent < -690.0 ? -690.0 : exponent > 690.0 ? 690.0 : exponent;
  return div(beta, add(beta, mul(sub(1.0, beta), exponential(exponent))));
}

struct Interval {
  int64_t first, end;
};

SSLFAST_HD int64_t clipped(int64_t value, int64_t size) { return value < 0 ? 0 : value > size ? size : value; }

// One side of a box whose sides are `ratio` of the image's, and whose centre may be any pixel.
SSLFAST_HD Interval centred_side(MixBox box, double ratio, int64_t size, uint32_t word) {
  const int64_t centre = uniform_below(word, static_cast<uint64_t>(size));
  if (box == MixBox::kHalves) {
    const auto half = static_cast<int64_t>(mul(mul(0.5, ratio), static_cast<double>(size)));
    return {clipped(centre - half, size), clipped(centre + half, size)};
  }
  const auto cut = static_cast<int64_t>(mul(static_cast<double>(size), ratio));
  return {clipped(centre - cut / 2, size), clipped(centre + (cut + 1) / 2, size)};
}

// One side of a length of its own, anywhere in the image.
SSLFAST_HD Interval free_side(double low, double high, int64_t size, uint32_t length_word, uint32_t place_word) {
  const auto least = static_cast<int64_t>(mul(static_cast<double>(size), low));
  const auto above = static_cast<int64_t>(mul(static_cast<double>(size), high));
  const int64_t choices = above > least ? above - least : 1;
  const int64_t length = least + uniform_below(length_word, static_cast<uint64_t>(choices));
  const int64_t first = uniform_below(place_word, static_cast<uint64_t>(size - length + 1));
  return {first, first + length};
}

SSLFAST_HD void mix_params(const BatchMixParams& p, uint64_t seed, int64_t r, float* out) {
  const int64_t mirrored = p.rows - 1 - r;
  uint64_t unit = 0;
  if (p.mode == MixMode::kElement) unit = p.row_ids[r];
  if (p.mode == MixMode::kPair) unit = p.row_ids[r < mirrored ? r : mirrored];
  const Words choice = philox(seed, Stream::kBatchMix, unit, 0);
  const bool both = p.blend_alpha > 0 && p.box_alpha > 0;
  const bool by_box = both ? choice.word[1] < p.box_threshold : p.box_alpha > 0;
  const bool mixed = choice.word[0] < p.mix_threshold;
  for (int k = 0; k < kMixColumns; ++k) out[k] = 0.0f;
  int64_t partner = mirrored;
  if (p.partner == MixPartner::kRoll) partner = r == 0 ? p.rows - 1 : r - 1;
  if (p.partner == MixPartner::kShuffle) {
    partner = number_at(OrderDraw{seed, Stream::kMixOrder, 0, 0}, p.rows, static_cast<uint32_t>(r));
  }
  out[kMixPartner] = static_cast<float>(partner);
  out[kMixLambda] = 1.0f;
  if (!mixed) return;
  double lambda = symmetric_beta(by_box ? p.box_alpha : p.blend_alpha, philox(seed, Stream::kBatchMix, unit, 1));
  out[kMixKind] = static_cast<float>(by_box ? MixKind::kBox : MixKind::kBlend);
  if (by_box) {
    Interval y, x;
    if (p.box == MixBox::kSides) {
      const Words w = philox(seed, Stream::kBatchMix, unit, 2);
      y = free_side(p.side_low, p.side_high, p.height, w.word[0], w.word[2]);
      x = free_side(p.side_low, p.side_high, p.width, w.word[1], w.word[3]);
    } else {
      const double ratio = square_root(sub(1.0, lambda));
      y = centred_side(p.box, ratio, p.height, choice.word[2]);
      x = centred_side(p.box, ratio, p.width, choice.word[3]);
    }
    out[kMixTop] = static_cast<float>(y.first);
    out[kMixLeft] = static_cast<float>(x.first);
    out[kMixHeight] = static_cast<float>(y.end - y.first);
    out[kMixWidth] = static_cast<float>(x.end - x.first);
    const double area = mul(static_cast<double>(y.end - y.first), static_cast<double>(x.end - x.first));
    const double whole = mul(static_cast<double>(p.height), static_cast<double>(p.width));
    if (p.area_lambda) lambda = sub(1.0, div(area, whole));
  }
  out[kMixLambda] = static_cast<float>(lambda);
}

}  // namespace sslfast::mix
