// A batch of images as the kernels see it.
#pragma once

#include "dtype.h"
#include "sslfast/image_lines.h"

namespace sslfast::ops {

// Of (N, C, H, W) with contiguous lines of pixels, or with contiguous lines of pixels' channels.
inline ImageLines image_lines(const Tensor& x) {
  check(x.dim() == 4 && here(x), "sslfast: images must be (N, C, H, W)");
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  check(x.size(0) <= 1 << 24 && height <= 1 << 24 && width <= 1 << 24, "sslfast: images of at most 2^24 lines");
  if (x.stride(3) == 1 || width <= 1) {
    return {x.size(0), channels, height, width, 1, x.stride(0), x.stride(1), x.stride(2)};
  }
  check((x.stride(1) == 1 || channels <= 1) && x.stride(3) == channels,
        "sslfast: lines of images must be contiguous, of pixels or of their channels");
  return {x.size(0), 1, height, width * channels, channels, x.stride(0), 0, x.stride(2)};
}

// Uninitialised, contiguous, in the order of dimensions of `x`.
inline Tensor empty_images(const Tensor& x) {
  const int64_t sizes[4] = {x.size(0), x.size(1), x.size(2), x.size(3)};
  const bool last = image_lines(x).unit > 1;
  const int64_t c = sizes[1], h = sizes[2], w = sizes[3];
  const int64_t planar[4] = {c * h * w, h * w, w, 1}, channels_last[4] = {c * h * w, 1, w * c, c};
  int32_t device_type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(x.get(), &device_type));
  AtenTensorHandle handle;
  check(aoti_torch_empty_strided(4, sizes, last ? channels_last : planar, static_cast<int32_t>(x.scalar_type()),
                                 device_type, x.get_device_index(), &handle) == AOTI_TORCH_SUCCESS,
        x.is_cuda() ? "CUDA out of memory. sslfast tried to allocate a batch of images"
                    : "out of memory: sslfast tried to allocate a batch of images");
  return Tensor(handle);
}

}  // namespace sslfast::ops
