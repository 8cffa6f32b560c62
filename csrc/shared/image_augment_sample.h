// The parameters of one augmented view from counter-based draws: what torchvision's RandomResizedCrop, ColorJitter,
// RandomHorizontalFlip and RandomGrayscale draw, with the same bits on CPU and GPU: everything is an integer compare or
// portable double arithmetic. sslfast/reference/image_augment.py repeats the formulae.
#pragma once

#include "portable_double.h"
#include "sslfast/image_augment.h"

namespace sslfast::sample {

using namespace portable;

SSLFAST_HD double uniform(uint32_t word, Range range) {
  return add(range.low, mul(sub(range.high, range.low), mul(word, 1.0 / 4294967296.0)));
}

struct Box {
  int64_t top, left, height, width;
};

// RandomResizedCrop.make_params: ten tries, then a central crop with the nearest allowed aspect ratio.
SSLFAST_HD Box crop_box(const ImageAugmentParams& p, uint64_t seed, uint64_t row, uint32_t element) {
  const double image_height = static_cast<double>(p.height), image_width = static_cast<double>(p.width);
  for (uint32_t attempt = 0; attempt < kCropTries; ++attempt) {
    const Words w = philox(seed, Stream::kImageAugment, row, element + attempt);
    const double area = mul(mul(image_height, image_width), uniform(w.word[0], p.scale));
    const double ratio = exponential(uniform(w.word[1], p.log_ratio));
    const double width = round_half_even(square_root(mul(area, ratio)));
    const double height = round_half_even(square_root(div(area, ratio)));
    if (width >= 1 && width <= image_width && height >= 1 && height <= image_height) {
      const int64_t h = static_cast<int64_t>(height), v = static_cast<int64_t>(width);
      return {uniform_below(w.word[2], static_cast<uint64_t>(p.height - h + 1)),
              uniform_below(w.word[3], static_cast<uint64_t>(p.width - v + 1)), h, v};
    }
  }
  const double image_ratio = div(image_width, image_height);
  double width = image_width, height = image_height;
  if (image_ratio < p.ratio.low) height = round_half_even(div(image_width, p.ratio.low));
  if (image_ratio > p.ratio.high) width = round_half_even(mul(image_height, p.ratio.high));
  const int64_t h = height < 1 ? 1 : static_cast<int64_t>(height), v = width < 1 ? 1 : static_cast<int64_t>(width);
  return {(p.height - h) / 2, (p.width - v) / 2, h, v};
}

// Fills the row of one (sample, view); columns as in sslfast.augment.PARAMS.
SSLFAST_HD void view_params(const ImageAugmentParams& p, uint64_t seed, int64_t sample_index, int64_t view,
                            float* out) {
  const uint64_t row = static_cast<uint64_t>(p.row_offset + sample_index);
  const uint32_t element = static_cast<uint32_t>(view) * kDrawBlocks;
  const Box box = crop_box(p, seed, row, element);
  const Words choice = philox(seed, Stream::kImageAugment, row, element + kChoiceBlock);
  const Words factor = philox(seed, Stream::kImageAugment, row, element + kFactorBlock);
  out[kTop] = static_cast<float>(box.top);
  out[kLeft] = static_cast<float>(box.left);
  out[kHeight] = static_cast<float>(box.height);
  out[kWidth] = static_cast<float>(box.width);
  out[kFlip] = choice.word[0] < p.flip_threshold ? 1.0f : 0.0f;
  out[kJitter] = choice.word[1] < p.jitter_threshold ? 1.0f : 0.0f;
  out[kOrder] = static_cast<float>(uniform_below(choice.word[2], 24));
  for (int k = 0; k < 4; ++k) out[kBrightness + k] = static_cast<float>(uniform(factor.word[k], p.jitter[k]));
  out[kGray] = choice.word[3] < p.gray_threshold ? 1.0f : 0.0f;
}

}  // namespace sslfast::sample
