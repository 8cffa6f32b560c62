#pragma once

#include "sslfast/image_augment.h"

namespace sslfast {

// The gradient of a loss with respect to images, from the one with respect to their views. `view` describes these as
// for image_augment, one view an image and float pixels; its out is not written. Of the steps, posterize, equalize and
// choice have no gradient and may not occur.
struct ImageAugmentBackward {
  ImageAugment view;
  const float* grad;  // (rows, channels, out_height, out_width)
  void* out;          // (rows, channels, height, width) in the type of the images
};

namespace cpu {
void image_augment_backward(const ImageAugmentBackward& p, int threads);
}  // namespace cpu

}  // namespace sslfast
