// Which patch an item stands for, where its pixels lie, and the arithmetic of one pixel: both backends run this.
#pragma once

#include <cmath>
#include <cstdint>

#include "sslfast/masked_patch.h"
#include "sslfast/philox.h"

namespace sslfast::patch {

enum class State : int32_t { kCounts, kNone, kOutOfRange };

struct Place {
  State state;
  int64_t image, patch;  // which one of the image's
};

SSLFAST_HD int64_t patches_of(const MaskedPatch& p) { return p.grid[0] * p.grid[1] * p.grid[2]; }
SSLFAST_HD int64_t pixels_of(const MaskedPatch& p) { return p.channels * p.patch[0] * p.patch[1] * p.patch[2]; }

SSLFAST_HD Place place_of(const MaskedPatch& p, int64_t row, int64_t item) {
  if (p.mask) return {p.mask[row * p.mask_row + item * p.mask_item] ? State::kCounts : State::kNone, row, item};
  const int64_t id = p.ids[row * p.items + item], patches = patches_of(p);
  if (id == -1) return {State::kNone, 0, 0};
  if (id < 0 || id >= (p.flat ? p.image_count * patches : patches)) return {State::kOutOfRange, 0, 0};
  return p.flat ? Place{State::kCounts, id / patches, id % patches} : Place{State::kCounts, row, id};
}

SSLFAST_HD int64_t start_in_image(const int64_t (&grid)[3], int64_t row_stride, const int64_t (&step)[3], int64_t row,
                                  int64_t patch) {
  const int64_t across = patch % grid[2], down = patch / grid[2] % grid[1], frame = patch / grid[2] / grid[1];
  return row * row_stride + frame * step[0] + down * step[1] + across * step[2];
}

SSLFAST_HD int64_t target_start(const MaskedPatch& p, const Place& place) {
  return start_in_image(p.grid, p.image_row, p.image_step, place.image, place.patch);
}

// Of the prediction for an item, and of its gradient.
SSLFAST_HD int64_t pred_start(const MaskedPatch& p, int64_t row, int64_t item) {
  return p.as_image ? start_in_image(p.grid, p.pred_row, p.pred_step, row, item)
                    : row * p.pred_row + item * p.pred_item;
}
SSLFAST_HD int64_t grad_start(const MaskedPatch& p, int64_t row, int64_t item) {
  return p.as_image ? start_in_image(p.grid, p.grad_row, p.grad_step, row, item)
                    : row * p.grad_row + item * p.grad_item;
}

// One over what a target is divided by, from the sum of squared distances from the mean of n numbers. mae has eps under
// the root, VideoMAE outside; a layer norm's variance is that of all there is, not an estimate.
template <typename T>
SSLFAST_HD T inverse_deviation(PatchNorm norm, T squares, int64_t n, T eps) {
  const T variance = squares / static_cast<T>(norm == PatchNorm::kLayer ? n : n - 1);
  return norm == PatchNorm::kChannel ? T{1} / (std::sqrt(variance) + eps) : T{1} / std::sqrt(variance + eps);
}

// The loss of a pixel and its derivative, of d = prediction - target. NaN stays NaN in both.
template <PixelKind kKind, typename T>
SSLFAST_HD T pixel_loss(T d, T beta) {
  if (kKind == PixelKind::kSquared) return d * d;
  const T size = d < T{0} ? -d : d;
  if (kKind == PixelKind::kAbsolute) return size;
  return size < beta ? T{0.5} * d * d / beta : size - T{0.5} * beta;
}

template <PixelKind kKind, typename T>
SSLFAST_HD T pixel_slope(T d, T beta) {
  if (kKind == PixelKind::kSquared) return d + d;
  const T sign = d > T{0} ? T{1} : d < T{0} ? T{-1} : d;
  if (kKind == PixelKind::kAbsolute) return sign;
  return d < beta && d > -beta ? d / beta : sign;
}

}  // namespace sslfast::patch
