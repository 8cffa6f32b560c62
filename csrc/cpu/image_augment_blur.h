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

// The same along a row, which is readable from -16, or -reach if that is further, to as much behind padded(n). out is
// writable up to padded(n).
void blur_across(const float* row, const float* weight, int32_t reach, int64_t n, float* out);

}  // namespace sslfast::cpu
