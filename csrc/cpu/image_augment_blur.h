// The two passes of a separable blur: down over rows, and across one. Each function picks its instruction set when it
// is first called.
#pragma once

#include <cstdint>

namespace sslfast::cpu {

// out[x] = weight[0] rows[0][x] + sum over k in [1, reach] of weight[k] (rows[-k][x] + rows[k][x]), `count` times, each
// one row further on in `rows` and out_stride in `out`. All rows are readable and writable up to padded(n); out_stride
// is no less.
void blur_down(const float* const* rows, const float* weight, int32_t reach, int64_t count, int64_t n, float* out,
               int64_t out_stride);

// Where a blurred row goes, writable up to padded(n), and how it is normalised on the way: times gain, plus offset.
// `stream`: past the caches; `out` is aligned to cache lines then.
struct BlurredRow {
  float* out;
  float gain = 1.0f, offset = 0.0f;
  bool stream = false;
};

// The same along a row, which is readable from -16, or -reach if that is further, to as much behind padded(n).
void blur_across(const float* row, const float* weight, int32_t reach, int64_t n, const BlurredRow& to);

}  // namespace sslfast::cpu
