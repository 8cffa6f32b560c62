// What image_augment_backward.cpp does to a row. Each function picks its instruction set when it is first called.
#pragma once

#include "image_augment_rows.h"

namespace sslfast::cpu {

// The adjoint of a table: which outputs take from a pixel, for every pixel of an axis. They lie side by side.
// weight[k * stride + j] belongs to output first[j] + k.
struct Takers {
  int64_t stride = 0;
  int32_t taps = 0;
  Buffer<int32_t> first;
  Buffer<float> weight;

  void fill(const Table& table, int64_t outputs, int64_t pixels);
};

// out[x] = sum over k of weight[k * weight_stride] * rows[k * n + x], n numbers.
void add_rows(const float* rows, int64_t n, int32_t taps, const float* weight, int64_t weight_stride, float* out);

// out[j] = sum over k of weight[k * stride + j] * row[first[j] + k], n pixels.
void take_back(const float* row, const Takers& takers, int64_t n, float* out);

// A row of a view's gradient on its way back through operations that work on pixels alone.
struct GradientRow {
  int64_t n, channels;
  const augment::Op* op;
  int32_t ops;
  int32_t ops_of_values;  // the first ones, up to the last whose derivative depends on the pixels
  Planes values;          // what the first operation took; read where ops_of_values > 0
  Planes kept;            // room for what the others took: 3 planes of padded(n) for each
  Planes from;            // the gradient behind the last operation
  float gain[3], add[3];  // which is to be multiplied and moved by these, a channel each
  Planes out;             // that before the first one; may be `from`
};

// Returns the sum over channels and pixels of what contrast, as the first operation, passes on to the mean of the gray
// image; 0 where it is not the first.
double paint_back(const GradientRow& row);

// sums[0] += the sum of grad, sums[1] += the sum of grad times (value times factor plus offset).
void add_stretch_sums(const float* grad, const float* value, float factor, float offset, int64_t n, double* sums);

// out[x] = grad[x] where the row between `above` and `below`, blended as by sharpen(), lies in [0, 1], else 0; 0 in the
// first and last pixel, which stay.
void sharpen_mask(const float* above, const float* row, const float* below, float factor, const float* grad, int64_t n,
                  float* out);

// The adjoint of sharpen() for what sharpen_mask() left: grad[x], or where `inner` and x is not at an end
// factor middle[x], and a share of its neighbourhood.
void sharpen_back(const float* above, const float* middle, const float* below, float factor, bool inner, int64_t n,
                  float* grad);

}  // namespace sslfast::cpu
