// What one row of parameters says, and the arithmetic of a blend: two products and their sum, each rounded once on
// every backend, as torch's are.
#pragma once

#include "portable_double.h"
#include "sslfast/batch_mix.h"

namespace sslfast::mix {

#ifdef __CUDA_ARCH__
SSLFAST_HD float scaled(float a, float b) { return __fmul_rn(a, b); }
SSLFAST_HD float sum(float a, float b) { return __fadd_rn(a, b); }
#else
SSLFAST_HD float scaled(float a, float b) { return a * b; }
SSLFAST_HD float sum(float a, float b) { return a + b; }
#endif
SSLFAST_HD double scaled(double a, double b) { return portable::mul(a, b); }
SSLFAST_HD double sum(double a, double b) { return portable::add(a, b); }

struct Row {
  MixKind kind;
  int64_t partner;
  double own, other;  // weights of a blend
  LineBox box;        // of a box
};

SSLFAST_HD Row read_row(const float* params, const ImageLines& image) {
  Row row;
  const float kind = params[kMixKind], partner = params[kMixPartner];
  const auto last = static_cast<float>(image.rows - 1);
  row.kind = kind == 1.0f ? MixKind::kBlend : kind == 2.0f ? MixKind::kBox : MixKind::kNone;
  row.partner = partner > 0.0f ? static_cast<int64_t>(partner < last ? partner : last) : 0;
  row.own = params[kMixLambda];
  row.other = portable::sub(1.0, row.own);
  row.box = line_box(params + kMixTop, image);
  return row;
}

}  // namespace sslfast::mix
