#pragma once

#include <cstdint>

#include "sslfast/dtype.h"
#include "sslfast/philox.h"

namespace sslfast {

// A batch of images as lines of neighbouring elements: planar images are `planes` channels whose lines are pixels
// (unit = 1), images with the channels last are one plane whose lines are pixels of `unit` channels. Strides in
// elements; those within a line are 1.
struct ImageLines {
  int64_t rows, planes, height, line, unit;
  int64_t row_stride, plane_stride, line_stride;

  SSLFAST_HD int64_t at(int64_t row, int64_t plane, int64_t y) const {
    return row * row_stride + plane * plane_stride + y * line_stride;
  }
};

// A box in lines and in elements of a line.
struct LineBox {
  int64_t top, bottom, left, right;

  SSLFAST_HD bool has_line(int64_t y) const { return top <= y && y < bottom; }
};

// From four floats top, left, height, width in pixels, which may be anything: cut to the image.
SSLFAST_HD LineBox line_box(const float* box, const ImageLines& image) {
  const auto within = [](float value, int64_t size) -> int64_t {
    return value > 0.0f ? (value < static_cast<float>(size) ? static_cast<int64_t>(value) : size) : 0;  // NaN: 0
  };
  const int64_t width = image.line / image.unit;
  LineBox out;
  out.top = within(box[0], image.height);
  out.left = within(box[1], width);
  out.bottom = out.top + within(box[2], image.height - out.top);
  out.right = (out.left + within(box[3], width - out.left)) * image.unit;
  out.left *= image.unit;
  if (out.right == out.left) out.bottom = out.top;
  return out;
}

}  // namespace sslfast
