#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// Columns of the row of numbers that describes one view; sslfast.augment.PARAMS names them in this order.
enum ViewColumn {
  kTop,
  kLeft,
  kHeight,
  kWidth,
  kFlip,
  kJitter,
  kOrder,
  kBrightness,
  kContrast,
  kSaturation,
  kHue,
  kGray,
  kViewColumns
};

// Philox counters of a view: element = view * kDrawBlocks + block. Blocks 0 to 9 are the tries of the crop (area,
// log ratio, top, left), then one for flip, jitter, order and gray, then one for the four jitter factors.
constexpr uint32_t kDrawBlocks = 64, kCropTries = 10, kChoiceBlock = 10, kFactorBlock = 11;

struct Range {
  double low, high;
};

// Parameters for (rows, views) of images of one size. Writes 48 bytes per view.
struct ImageAugmentParams {
  Seed seed;
  int64_t row_offset, rows, views;
  int64_t height, width;  // of the source images
  Range scale, ratio, log_ratio;
  Range jitter[4];  // brightness, contrast, saturation, hue
  uint64_t flip_threshold, jitter_threshold, gray_threshold;
  float* out;  // (rows, views, kViewColumns)
};

struct BFloat16 {
  uint16_t bits;
};

// uint8 images (rows, channels, height, width), any strides (in elements), channels 1 or 3, to normalised views
// (views, rows, channels, out_height, out_width). Reads the crop and writes the view once.
template <typename Out>
struct ImageAugment {
  const uint8_t* images;
  int64_t row_stride, channel_stride, height_stride, width_stride;
  int64_t rows, views, channels, height, width;
  const float* params;  // (rows, views, kViewColumns)
  int64_t out_height, out_width;
  float gain[3], offset[3];  // view = gain * pixel + offset per channel, pixel in [0, 1]
  Out* out;
  double* sums;  // GPU only: (rows, views, contrast_parts(out_height)), parts of the mean that contrast needs
};

namespace cpu {
void image_augment_params(const ImageAugmentParams& p, int threads);
void image_augment(const ImageAugment<float>& p, int threads);
void image_augment(const ImageAugment<BFloat16>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
// Blocks, and so partial sums, per view.
int64_t contrast_parts(int64_t out_height);
cudaError_t image_augment_params(const ImageAugmentParams& p, cudaStream_t stream);
cudaError_t image_augment(const ImageAugment<float>& p, cudaStream_t stream);
cudaError_t image_augment(const ImageAugment<BFloat16>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
