// A batch of images (N, C, H, W), contiguous, as the kernels see it.
#pragma once

#include "arrays.h"
#include "sslfast/image_lines.h"

namespace sslfast::host {

inline ImageLines image_lines(const py::array& x) {
  const int64_t c = x.shape(1), h = x.shape(2), w = x.shape(3);
  return {x.shape(0), c, h, w, 1, c * h * w, h * w, w};
}

// Of (N, H, W, C), contiguous.
inline ImageLines lines_of_pixels(const py::array& x) {
  const int64_t h = x.shape(1), w = x.shape(2), c = x.shape(3);
  return {x.shape(0), 1, h, w * c, c, h * w * c, 0, w * c};
}

inline Dtype dtype_of(const py::array& x) {
  return x.itemsize() == 4 ? Dtype::kFloat32 : x.itemsize() == 8 ? Dtype::kFloat64 : Dtype::kFloat16;
}

}  // namespace sslfast::host
