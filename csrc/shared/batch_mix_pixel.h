// What one row of parameters says, and the arithmetic of a blend: two products and their sum, each rounded once on
// every backend, as torch's are; of bytes the nearest one.
#pragma once

#include "portable_float.h"
#include "sslfast/batch_mix.h"

namespace sslfast::mix {

// A blend of bytes: the nearest byte, half up. NaN, which parameters by hand may ask for, is 0.
SSLFAST_HD uint8_t to_byte(float x) {
  const float up = rounded::add(x, 0.5f);
  return static_cast<uint8_t>(static_cast<int32_t>(up > 0.0f ? (up < 255.0f ? up : 255.0f) : 0.0f));
}

SSLFAST_HD int64_t partner_of(const float* params, int64_t rows) {
  const float partner = params[kMixPartner], last = static_cast<float>(rows - 1);
  return partner > 0.0f ? static_cast<int64_t>(partner < last ? partner : last) : 0;  // NaN: 0
}

// The target of one class for one row.
SSLFAST_HD float target(const MixTargets& p, int64_t r, int64_t c) {
  const float* params = p.params + r * kMixColumns;
  const int64_t own = p.labels[r], other = p.labels[partner_of(params, p.rows)];
  const bool classes = 0 <= own && own < p.classes && 0 <= other && other < p.classes;
  float value = classes ? p.off : __builtin_nanf("");
  const float lambda = params[kMixLambda];
  if (c == own) value = rounded::add(value, rounded::mul(lambda, p.on));
  if (c == other) value = rounded::add(value, rounded::mul(rounded::add(1.0f, -lambda), p.on));
  return value;
}

struct Row {
  MixKind kind;
  int64_t partner;
  double own, other;  // weights of a blend
  LineBox box;        // of a box
};

SSLFAST_HD Row read_row(const BatchMix& p, int64_t r) {
  const float* params = p.params + r * kMixColumns;
  const ImageLines& image = p.from;
  Row row;
  const float kind = params[kMixKind];
  row.kind = kind == 1.0f ? MixKind::kBlend : kind == 2.0f ? MixKind::kBox : MixKind::kNone;
  row.partner = partner_of(params, image.rows);
  row.own = params[kMixLambda];
  row.other = portable::sub(1.0, row.own);
  row.box = line_box(params + kMixTop, image);
  return row;
}

}  // namespace sslfast::mix
