#pragma once

#include "sslfast/random_erase.h"

namespace sslfast {

// A view is made by a list of steps, which is the same for a whole call; a row of floats says how strongly each step
// acts on each view. sslfast.augment.image_augment names the steps and their columns; tests compare the two lists.
enum StepCode : int32_t {
  kStepResample,     // always the first: where the view's pixels come from
  kStepColorJitter,  // brightness, contrast, saturation and hue in any order
  kStepGrayscale,
  kStepSolarize,
  kStepPosterize,
  kStepInvert,
  kStepAutoContrast,
  kStepEqualize,
  kStepSharpness,
  kStepBlur,
  kStepAffine,
  kStepChoice,  // one operation out of a list
  kStepCodes
};

// Columns of a step, in this order:
//   resample       top, left, height, width (of the source box), target height and width (to which the whole box would
//                  be resized), offset top and left (of the view in that; what lies outside is filled), then flips
//                  left-right and upside down
//   color jitter   applied, order (index into the permutations of the four), brightness, contrast, saturation, hue
//   solarize       applied, threshold        posterize   applied, bits
//   sharpness      applied, factor           blur        applied, sigma
//   affine         applied, angle, translation x, y (pixels), scale, shear x, y (degrees), about the corner (or centre)
//   choice         ChoiceCode, its magnitude
//   others         applied
SSLFAST_HD int32_t step_columns(int32_t code) {
  switch (code) {
    case kStepResample:
      return 10;
    case kStepColorJitter:
      return 6;
    case kStepSolarize:
    case kStepPosterize:
    case kStepSharpness:
    case kStepBlur:
    case kStepChoice:
      return 2;
    case kStepAffine:
      return 8;
    default:
      return 1;
  }
}

enum ResampleColumn {
  kTop,
  kLeft,
  kHeight,
  kWidth,
  kTargetHeight,
  kTargetWidth,
  kOffsetTop,
  kOffsetLeft,
  kFlipLeftRight,
  kFlipUpsideDown,
};

// What a choice step chooses from: the operations of RandAugment.
enum ChoiceCode : int32_t {
  kChoiceIdentity,
  kChoiceShearX,
  kChoiceShearY,
  kChoiceTranslateX,
  kChoiceTranslateY,
  kChoiceRotate,
  kChoiceBrightness,
  kChoiceColor,
  kChoiceContrast,
  kChoiceSharpness,
  kChoicePosterize,
  kChoiceSolarize,
  kChoiceAutoContrast,
  kChoiceEqualize,
  kChoiceCodes
};

enum Interpolation : int32_t { kNearest, kBilinear, kBicubic };

// Boxes erased in a view, and the numbers written into all of them, that one call takes along.
constexpr int32_t kMaxErases = 16, kMaxErased = 64;

constexpr int32_t kMaxSteps = 32, kMaxRules = 320, kMaxChannels = 32, kMaxFills = 9 * kMaxChannels;
constexpr float kListed = 2.0f;

// What lies outside an image: a constant, its edge, or its reflection without or with the edge twice.
enum Padding : int32_t { kConstant, kEdge, kReflect, kSymmetric };

// What is fixed for a call: resample has interpolation, antialias and fill, or where that is negative -Padding; color
// jitter 1 where contrast is never drawn; blur its kernel's width and height, affine and choice interpolation and fill,
// -1 for none. A fill is one number of all channels, in [0, 1], or kListed plus the place of a list among
// ImageAugment::fills, which has a number for each.
struct Step {
  int32_t code;
  float setting[3];
};

// A jitter that never draws contrast needs nothing of the whole view, whatever its row says: of one with a contrast
// other than 1 the view is NaN.
SSLFAST_HD bool may_draw_contrast(const Step& step) { return step.code == kStepColorJitter && step.setting[0] == 0.0f; }

constexpr int64_t kSegment = 1 << 16;  // views that lie between the draws of two segments of a list

// Philox counters of a view: element = (view * kMaxSteps + step) * kStepBlocks + block.
constexpr uint32_t kStepBlocks = 16, kCropTries = 10, kFlipBlock = 10;

// How a box is drawn that is erased: csrc/shared/random_erase_sample.h.
struct EraseRule {
  uint64_t threshold;
  double scale_low, scale_high, log_ratio_low, log_ratio_high;
};

// Parameters of (rows, views), from a flat list of rules, those of step 0 first; csrc/shared/image_augment_sample.h
// says which rules a step has. Those of boxes, kEraseColumns each, are the last columns.
struct ImageAugmentParams {
  Seed seed;
  Rows numbers;
  int64_t rows, views, first_view, columns;
  int64_t height, width;  // of every source image
  const int64_t* sizes;   // (rows, 2), or null: of each
  int32_t steps, codes[kMaxSteps];
  double rules[kMaxRules];
  int32_t erases;
  EraseRule erase[kMaxErases];
  float* out;  // (rows, views, columns)
};

enum class Pixels : int32_t { kUint8, kFloat, kBFloat16, kHalf };

SSLFAST_HD int64_t pixel_bytes(Pixels type) { return type == Pixels::kUint8 ? 1 : type == Pixels::kFloat ? 4 : 2; }

// One image; strides in elements.
struct Image {
  const void* data;
  int64_t height, width, channel_stride, height_stride, width_stride;
};

// Images of `channels` planes to views (views, rows, channels, out_height, out_width), or with the channels last.
// uint8 stands for [0, 255], other pixels lie in [0, 1]. With 1 or 3 channels the colour steps are torchvision's; with
// another number every channel is an image of its own.
struct ImageAugment {
  Image image;  // the first, where all have one size and lie row_stride apart
  int64_t row_stride;
  const Image* images;  // or null: each of them
  Pixels in, out_type;
  int64_t rows, views, channels, columns;
  const float* params;  // (rows, views, columns)
  int32_t steps;
  Step step[kMaxSteps];
  int64_t out_height, out_width;
  float fills[kMaxFills];                          // lists of `channels` numbers
  float gain[kMaxChannels], offset[kMaxChannels];  // out = gain * pixel + offset, pixel in [0, 1]; then rounded
  // Boxes that are erased in what comes out, one after another; their columns are the last. GPU only: on the CPU a call
  // of its own writes them into views that are in the cache.
  int32_t erases;
  struct {
    bool noise;
    int32_t first, count;  // of its values: one, or one per channel
  } erase[kMaxErases];
  float erased[kMaxErased];
  bool channels_last;
  void* out;
  void* scratch;  // GPU only: image_augment_scratch bytes

  SSLFAST_HD Image source(int64_t row) const {
    if (images) return images[row];
    Image one = image;
    one.data = static_cast<const char*>(image.data) + row * row_stride * pixel_bytes(in);
    return one;
  }

  SSLFAST_HD float fill_of(float fill, int64_t channel) const {
    return fill < kListed ? fill : fills[static_cast<int64_t>(fill - kListed) * channels + channel];
  }
};

// Whether the `count` numbers behind three settings a step are the lists that these ask for.
inline bool has_fills(int64_t steps, const int64_t* codes, const double* settings, int64_t count, int64_t channels) {
  if (count < 0 || count > kMaxFills || count % channels != 0) return false;
  for (int64_t s = 0; s < steps; ++s) {
    const bool moves = codes[s] == kStepAffine || codes[s] == kStepChoice;
    const double fill = codes[s] == kStepResample ? settings[3 * s + 2] : moves ? settings[3 * s + 1] : 0.0;
    if (!(fill < static_cast<double>(kListed) + static_cast<double>(count / channels))) return false;
  }
  return true;
}

// The steps, and out = (pixel - mean) / std, as callers name them: three settings a step and behind them `fills`
// numbers of lists, a mean and deviation a channel. Their numbers are the caller's to check, and channels and out_type
// are set before.
inline void describe(ImageAugment& p, int32_t steps, const int64_t* codes, const double* settings, int64_t fills,
                     const double* mean, const double* std) {
  p.steps = steps;
  for (int32_t s = 0; s < steps; ++s) {
    p.step[s].code = static_cast<int32_t>(codes[s]);
    for (int32_t k = 0; k < 3; ++k) p.step[s].setting[k] = static_cast<float>(settings[3 * s + k]);
  }
  for (int64_t k = 0; k < fills; ++k) p.fills[k] = static_cast<float>(settings[3 * steps + k]);
  const double scale = p.out_type == Pixels::kUint8 ? 255.0 : 1.0;
  for (int64_t c = 0; c < p.channels; ++c) {
    p.gain[c] = static_cast<float>(scale / std[c]);
    p.offset[c] = static_cast<float>(-scale * mean[c] / std[c]);
  }
}

namespace cpu {
void image_augment_params(const ImageAugmentParams& p, int threads);
void image_augment(const ImageAugment& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
int64_t image_augment_scratch(const ImageAugment& p);
cudaError_t image_augment_params(const ImageAugmentParams& p, cudaStream_t stream);
cudaError_t image_augment(const ImageAugment& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
