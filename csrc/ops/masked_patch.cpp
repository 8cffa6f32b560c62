#include "sslfast/masked_patch.h"

#include <optional>
#include <tuple>
#include <vector>

#include "dtype.h"

namespace sslfast::ops {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;

// How a prediction lies: as tokens whose pixels are in the order (channel, t, p, q) or (t, p, q, channel), or as
// images.
enum Order : int64_t { kChannelsFirst, kChannelsLast, kImage };

static void read_images(MaskedPatch& p, const Tensor& images, const Ints& patch) {
  check(images.dim() == 5 && here(images) && images.size(1) >= 1, "masked_patch: images must be (N, C, T, H, W)");
  check(patch.size() == 3, "masked_patch: patch must be (t, h, w)");
  p.images = images.const_data_ptr();
  p.bytes = images.scalar_type() == ScalarType::Byte;
  if (!p.bytes) p.image_dtype = read_dtype(images.scalar_type());
  p.image_count = images.size(0);
  p.channels = images.size(1);
  p.image_row = images.stride(0);
  p.image_strides = {images.stride(1), images.stride(2), images.stride(3), images.stride(4)};
  for (int k = 0; k < 3; ++k) {
    check(patch[k] >= 1 && images.size(2 + k) >= 1 && images.size(2 + k) % patch[k] == 0,
          "masked_patch: patches must divide the images");
    p.patch[k] = patch[k];
    p.grid[k] = images.size(2 + k) / patch[k];
    p.image_step[k] = images.stride(2 + k) * patch[k];
  }
}

static void read_pred(MaskedPatch& p, const Tensor& pred, const Tensor& images, int64_t order) {
  check(here(pred) && order >= kChannelsFirst && order <= kImage, "masked_patch: pred is elsewhere, or in no order");
  p.pred = pred.const_data_ptr();
  p.dtype = read_dtype(pred.scalar_type());
  p.as_image = order == kImage;
  p.pred_row = pred.stride(0);
  const int64_t pixels = p.channels * p.patch[0] * p.patch[1] * p.patch[2];
  if (p.as_image) {
    check(pred.dim() == 5, "masked_patch: pred must have the shape of images");
    for (int k = 0; k < 5; ++k) check(pred.size(k) == images.size(k), "masked_patch: pred must have images' shape");
    p.pred_strides = {pred.stride(1), pred.stride(2), pred.stride(3), pred.stride(4)};
    int64_t plane = p.patch[0] * p.grid[0];
    for (int k = 1; k < 3; ++k) plane *= p.patch[k] * p.grid[k];
    const int64_t width = images.size(4), area = width * images.size(3);
    p.grad_row = plane * p.channels;
    p.grad_strides = {plane, area, width, 1};
    const int64_t image[3] = {area, width, 1};
    for (int k = 0; k < 3; ++k) {
      p.pred_step[k] = pred.stride(2 + k) * p.patch[k];
      p.grad_step[k] = image[k] * p.patch[k];
    }
    p.rows = pred.size(0);
    p.items = p.grid[0] * p.grid[1] * p.grid[2];
    return;
  }
  check(pred.dim() == 3 && pred.size(2) == pixels && (pred.stride(2) == 1 || pixels == 1),
        "masked_patch: pred must be (rows, items, pixels of a patch), its pixels contiguous");
  p.rows = pred.size(0);
  p.items = pred.size(1);
  p.pred_item = pred.stride(1);
  const int64_t step = order == kChannelsLast ? p.channels : 1;
  const int64_t row = step * p.patch[2], frame = row * p.patch[1];
  p.pred_strides = {order == kChannelsLast ? 1 : frame * p.patch[0], frame, row, step};
  p.grad_strides = p.pred_strides;
  p.grad_row = p.items * pixels;
  p.grad_item = pixels;
}

static void read_places(MaskedPatch& p, const std::optional<Tensor>& mask, const std::optional<Tensor>& ids,
                        bool flat) {
  check(mask.has_value() != ids.has_value(), "masked_patch: either mask or ids");
  if (mask) {
    check(mask->scalar_type() == ScalarType::Bool && mask->dim() == 2 && here(*mask) && mask->size(0) == p.rows &&
              mask->size(1) == p.items && p.rows == p.image_count && p.items == p.grid[0] * p.grid[1] * p.grid[2],
          "masked_patch: mask must be bool (N, L), and pred have a row for each patch");
    p.mask = mask->const_data_ptr<bool>();
    p.mask_row = mask->stride(0);
    p.mask_item = mask->stride(1);
    return;
  }
  check(ids->scalar_type() == ScalarType::Long && ids->dim() == 2 && here(*ids) && ids->is_contiguous() &&
            ids->size(0) == p.rows && ids->size(1) == p.items && !p.as_image && (flat || p.rows == p.image_count),
        "masked_patch: ids must be contiguous int64, one for each row of pred");
  p.ids = ids->const_data_ptr<int64_t>();
  p.flat = flat;
}

static std::tuple<Tensor, Tensor> masked_patch(const Tensor& pred, const Tensor& images,
                                               const std::optional<Tensor>& mask, const std::optional<Tensor>& ids,
                                               const std::optional<Tensor>& weights, Ints patch, int64_t order,
                                               bool flat, int64_t norm, int64_t kind, double beta, double eps,
                                               Floats scale, Floats shift, bool need_grad) {
  MaskedPatch p{};
  read_images(p, images, patch);
  read_pred(p, pred, images, order);
  read_places(p, mask, ids, flat);
  check(norm >= 0 && norm <= 3 && kind >= 0 && kind <= 2, "masked_patch: no such norm or kind");
  p.norm = static_cast<PatchNorm>(norm);
  p.kind = static_cast<PixelKind>(kind);
  p.beta = beta;
  p.eps = eps;
  p.scaled = static_cast<int64_t>(scale.size());
  check(scale.size() == shift.size() && (p.scaled == 0 || p.scaled == p.channels) && p.scaled <= kScaledChannels,
        "masked_patch: scale and shift must have one number per channel, of at most 16");
  for (int64_t c = 0; c < p.scaled; ++c) {
    p.scale[c] = scale[c];
    p.shift[c] = shift[c];
  }
  const ScalarType sums = wide(pred.scalar_type());
  if (weights) {
    check(here(*weights) && weights->scalar_type() == sums && weights->is_contiguous() &&
              (weights->numel() == 1 || weights->numel() == p.rows * p.items),
          "masked_patch: weights must be contiguous, one or one per item, of the type of sums");
    p.weights = weights->const_data_ptr();
    p.one_weight = weights->numel() == 1;
  }
  Tensor loss = empty({p.rows, p.items}, sums, pred);
  Tensor grad = !need_grad   ? empty({0}, pred.scalar_type(), pred)
                : p.as_image ? empty({p.rows, p.channels, images.size(2), images.size(3), images.size(4)},
                                     pred.scalar_type(), pred)
                             : empty({p.rows, p.items, pred.size(2)}, pred.scalar_type(), pred);
  p.loss = loss.mutable_data_ptr();
  p.grad = data_if(need_grad, grad);
  launch([](const MaskedPatch& params, auto where) { return backend::masked_patch(params, where); }, p, pred);
  return {loss, grad};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("masked_patch", TORCH_BOX(&masked_patch)); }

}  // namespace sslfast::ops
