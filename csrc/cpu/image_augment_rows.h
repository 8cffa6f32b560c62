// What image_augment.cpp does to a row. Each function picks its instruction set when it is first called.
#pragma once

#include <memory>

#include "../shared/image_augment_colour.h"
#include "../shared/image_augment_taps.h"

namespace sslfast::cpu {

constexpr int64_t kMaxLanes = 16;  // of any instruction set; rows of scratch are padded to it

inline int64_t padded(int64_t n) { return (n + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

// The taps of a row of outputs. weight[k * stride + i] belongs to source pixel first[i] + k. For every `lanes` outputs,
// base is the lowest first and offset what is to be added to it; with `windowed`, their taps lie in 2 * lanes pixels.
struct Table {
  int64_t stride;
  int32_t taps = 0;
  bool windowed = false;
  std::unique_ptr<int32_t[]> first, base, offset;
  std::unique_ptr<float[]> weight;

  Table(int64_t largest_source, int64_t target);
  void fill(const augment::Axis& axis, bool reversed);
};

// Three bytes a pixel, side by side, into three rows.
void unpack_rgb(const uint8_t* pixels, int64_t n, uint8_t* r, uint8_t* g, uint8_t* b);

// out[x] = sum over k of weight[k * weight_stride] * pixels[k * row_stride + x] / 255, n pixels.
void average_rows(const uint8_t* pixels, int64_t row_stride, int64_t n, int32_t taps, const float* weight,
                  int64_t weight_stride, float* out);

struct Planes {
  float* plane[3];
};

// Resizes a row of every channel to n outputs. Rows are readable for 2 * kMaxLanes more than their pixels, and out is
// writable up to padded(n).
void resample(const Planes& rows, int64_t channels, const Table& table, const Planes& out, int64_t n);

// A row of a view, from resized source rows to the output in one pass.
template <typename Out>
struct Row {
  Planes top, bottom;  // the row is top_weight * top + bottom_weight * bottom, or top where blend is false
  bool blend;
  float top_weight, bottom_weight;
  bool contrast;  // before the operations of the list
  float contrast_rest;
  uint32_t list;
  bool hold;    // keep the row, unfinished, in held and return its gray sum; else write it to out
  Planes held;  // may be top
  Out* out[3];
};

template <typename Out>
double paint(const Row<Out>& row, const augment::View& view, const ImageAugment<Out>& p);

}  // namespace sslfast::cpu
