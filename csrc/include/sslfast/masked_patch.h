#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

enum class PatchNorm : int32_t { kNone, kPatch, kChannel, kLayer };
enum class PixelKind : int32_t { kSquared, kAbsolute, kSmooth };

// Where channel c and pixel (t, p, q) of a patch lie from the patch's start, in elements.
struct PatchStrides {
  int64_t channel, frame, row, column;
};

// How colours become targets: scale[c] * value + shift[c], of at most so many channels; more are left as they are.
constexpr int64_t kScaledChannels = 16;

// loss[i]: the mean over the pixels of patch i of what separates prediction and target, and grad = weight * its
// derivative in the prediction. The target is the image's own patch, optionally less its mean and divided by its
// standard deviation (of all channels together, or of each). Nothing of a patch that does not count is read: its loss
// and its gradient are 0; of an id that names no patch they are NaN. Images are (images, channels, frames, height,
// width) in any strides, patches are numbered along width, then height, then frames.
struct MaskedPatch {
  const void* pred;
  Dtype dtype;
  bool as_image;  // pred lies like the images, else it is (rows, items, pixels of a patch)
  // Of the first pixel of a patch: pred_row * n + pred_item * r as tokens; as an image, pred_row * n and these
  // steps between neighbouring patches.
  int64_t pred_row, pred_item;
  int64_t pred_step[3];
  PatchStrides pred_strides;
  const void* images;
  Dtype image_dtype;
  bool bytes;  // images are uint8, whatever image_dtype says
  int64_t image_row;
  int64_t image_step[3];
  PatchStrides image_strides;
  int64_t image_count, channels;
  int64_t patch[3], grid[3];  // frames, height, width of a patch; patches of an image
  int64_t rows, items;
  const bool* mask;  // (rows, items) with these strides, or null
  int64_t mask_row, mask_item;
  const int64_t* ids;  // (rows, items): the patch within image `row`; or, flat, among all images; -1: none. Or null.
  bool flat;
  const void* weights;  // one number, or one for each of (rows, items), of the type of sums; null: 1
  bool one_weight;
  PatchNorm norm;
  PixelKind kind;
  double beta, eps;
  int64_t scaled;  // channels of scale and shift, or 0
  double scale[kScaledChannels], shift[kScaledChannels];
  void* loss;  // (rows, items), of the type of sums: float, or double for double
  void* grad;  // of the type of pred, contiguous in its order; or null
  int64_t grad_row, grad_item;
  int64_t grad_step[3];
  PatchStrides grad_strides;
};

namespace cpu {
void masked_patch(const MaskedPatch& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t masked_patch(const MaskedPatch& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
