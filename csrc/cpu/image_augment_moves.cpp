#include "image_augment_moves.h"

#include <algorithm>
#include <cmath>

#include "../shared/image_augment_neighbours.h"
#include "image_augment_adjoint_rows.h"
#include "isa.h"

namespace sslfast::cpu {

using namespace augment;

// Rows of a channel that are blurred together: what they take is then in L1, and what goes past the caches in between
// waits for nothing.
constexpr int64_t kBlurTogether = 4;

// Where a blur ends: at 4.5 sigma or with its kernel.
static int32_t reach_of(float sigma, float kernel) {
  const int32_t half = static_cast<int32_t>(kernel) / 2;
  const double wide = std::ceil(4.5 * double{sigma});  // by hand that may be any number
  return wide < half ? static_cast<int32_t>(wide) : half;
}

static void gaussian(float sigma, int32_t reach, float* weight) {
  double sum = -1.0;
  for (int32_t k = 0; k <= reach; ++k) sum += 2 * std::exp(-0.5 * k * k / (double{sigma} * sigma));
  for (int32_t k = 0; k <= reach; ++k) {
    weight[k] = static_cast<float>(std::exp(-0.5 * k * k / (double{sigma} * sigma)) / sum);
  }
}

// `reach` pixels on either side of a line. Sixteen are one vector, and no dearer than five.
SSLFAST_ISA_CLONES static void reflect_ends(float* line, int64_t n, int32_t reach) {
  float* last = line + n - 1;
  if (reach <= kMaxLanes && n > kMaxLanes) {
    for (int32_t k = 1; k <= kMaxLanes; ++k) line[-k] = line[k];
    for (int32_t k = 1; k <= kMaxLanes; ++k) last[k] = last[-k];
    return;
  }
  for (int32_t k = 1; k <= reach; ++k) line[-k] = line[reflected(-k, n)], last[k] = line[reflected(n - 1 + k, n)];
}

Move::Move(const Op& op, const ViewShape& shape, MoveScratch& scratch) : op_(op), shape_(shape), s_(scratch) {
  if (op.code != kOpBlur) return;
  reach_across_ = reach_of(op.a, op.b);
  reach_down_ = reach_of(op.a, op.c);
  across_ = s_.weight.at_least(reach_across_ + reach_down_ + 2);
  down_ = across_ + reach_across_ + 1;
  gaussian(op.a, reach_across_, across_);
  gaussian(op.a, reach_down_, down_);
}

Planes Move::rows(const Planes& from, int64_t y) {
  if (op_.code == kOpBlur) return blurred(from, y);
  return op_.code == kOpSharpness ? sharpened(from, y) : moved(from, y);
}

void Move::back(const Planes& before, Planes& grad, Planes& spare) {
  if (op_.code == kOpAffine) {
    affine_back(grad, spare);
    std::swap(grad, spare);
    return;
  }
  for (int64_t c = 0; c < shape_.channels; ++c) {
    op_.code == kOpBlur ? blur_back(grad.plane[c], spare.plane[c])
                        : sharpness_back(before.plane[c], grad.plane[c], spare.plane[c]);
  }
}

Planes Move::blurred(const Planes& from, int64_t y) {
  count_ = std::min(kBlurTogether, shape_.height - y);
  const int64_t plane = kBlurTogether * shape_.width + kMaxLanes;
  const Planes done = planes(s_.blurred.at_least(3 * plane), plane);
  for (int64_t c = 0; c < shape_.channels; ++c) blur_rows(from.plane[c], y, {done.plane[c]});
  return done;
}

void Move::blur_to(const float* from, BlurredRow to) {
  for (int64_t y = 0; y < shape_.height; y += count_, to.out += count_ * shape_.width) {
    count_ = std::min(kBlurTogether, shape_.height - y);
    blur_rows(from, y, to);
  }
}

// `count_` rows of a channel from y on, separably, down and then across: those that they take lie in L1.
void Move::blur_rows(const float* from, int64_t y, BlurredRow to) {
  const int64_t n = shape_.width, outer = kMaxLanes + padded(reach_across_), line_stride = outer + padded(n) + outer;
  float* line = s_.line.at_least(2 * line_stride) + outer;
  const float** rows = s_.rows.at_least(2 * reach_down_ + kBlurTogether) + reach_down_;
  for (int64_t k = -reach_down_; k < reach_down_ + count_; ++k) rows[k] = from + reflected(y + k, shape_.height) * n;
  for (int64_t r = 0; r < count_; r += 2) {
    const int64_t two = std::min<int64_t>(2, count_ - r);
    blur_down(rows + r, down_, reach_down_, two, n, line, line_stride);
    for (int64_t k = 0; k < two; ++k, to.out += n) {
      reflect_ends(line + k * line_stride, n, reach_across_);
      blur_across(line + k * line_stride, across_, reach_across_, n, to);
    }
  }
}

// The frame stays as it is.
Planes Move::sharpened(const Planes& from, int64_t y) {
  const int64_t n = shape_.width;
  if (y == 0 || y == shape_.height - 1 || n <= 2) return from.moved(y * shape_.width);
  const Planes done = planes(s_.line.at_least(3 * padded(n)), padded(n));
  for (int64_t c = 0; c < shape_.channels; ++c) {
    const float* middle = from.plane[c] + y * shape_.width;
    sharpen(middle - shape_.width, middle, middle + shape_.width, op_.a, n, done.plane[c]);
  }
  return done;
}

Planes Move::moved(const Planes& from, int64_t y) {
  const Planes done = planes(s_.line.at_least(3 * padded(shape_.width)), padded(shape_.width));
  for (int64_t x = 0; x < shape_.width; ++x) {
    const AffineTaps taps = affine_taps(op_, shape_.height, shape_.width, shape_.width, y, x);
    for (int64_t c = 0; c < shape_.channels; ++c) {
      done.plane[c][x] = taps.of(from.plane[c], op_.fill[c]);
    }
  }
  return done;
}

// The blur of the gradient, zero outside, and what of it lies outside reflected into the view: down, then across.
void Move::blur_back(float* grad, float* spare) {
  const int64_t n = shape_.width, height = shape_.height, stride = padded(n),
                outer = padded(2 * reach_across_) + kMaxLanes;
  const int64_t wide = n + 2 * int64_t{reach_across_}, line_stride = outer + stride + outer + kMaxLanes;
  float* line = s_.line.at_least(2 * line_stride + 2 * stride) + outer;
  float *full = line - outer + line_stride, *zero = full + line_stride, *outside = zero + stride;
  std::fill(line - outer, line - outer + line_stride, 0.0f);
  std::fill(zero, zero + stride, 0.0f);
  const float** rows = s_.rows.at_least(2 * reach_down_ + 1) + reach_down_;
  const auto down = [&](int64_t y, float* out) {
    for (int32_t k = -reach_down_; k <= reach_down_; ++k) {
      rows[k] = y + k >= 0 && y + k < height ? grad + (y + k) * n : zero;
    }
    blur_down(rows, down_, reach_down_, 1, n, out, stride);
  };
  for (int64_t y = 0; y < height; ++y) down(y, spare + y * n);
  for (int64_t k = 1; k <= reach_down_; ++k) {
    for (const int64_t y : {-k, height - 1 + k}) {
      down(y, outside);
      float* to = spare + reflected(y, height) * n;
      for (int64_t x = 0; x < n; ++x) to[x] += outside[x];
    }
  }
  for (int64_t y = 0; y < height; ++y) {
    std::copy_n(spare + y * n, n, line);
    blur_across(line - reach_across_, across_, reach_across_, wide, {full});
    float* to = grad + y * n;
    std::copy_n(full + reach_across_, n, to);
    for (int64_t k = 1; k <= reach_across_; ++k) {
      to[reflected(-k, n)] += full[reach_across_ - k];
      to[reflected(n - 1 + k, n)] += full[reach_across_ + n - 1 + k];
    }
  }
}

void Move::sharpness_back(const float* before, float* grad, float* spare) {
  const int64_t n = shape_.width, height = shape_.height;
  if (n <= 2 || height <= 2) return;
  float* zero = s_.line.at_least(n);
  std::fill_n(zero, n, 0.0f);
  for (const int64_t y : {int64_t{0}, height - 1}) std::fill_n(spare + y * n, n, 0.0f);
  for (int64_t y = 1; y < height - 1; ++y) {
    const float* middle = before + y * n;
    sharpen_mask(middle - n, middle, middle + n, op_.a, grad + y * n, n, spare + y * n);
  }
  for (int64_t y = 0; y < height; ++y) {
    const float* middle = spare + y * n;
    sharpen_back(y == 0 ? zero : middle - n, middle, y == height - 1 ? zero : middle + n, op_.a,
                 y > 0 && y < height - 1, n, grad + y * n);
  }
}

// Each pixel's gradient to those that it was taken from.
void Move::affine_back(const Planes& grad, const Planes& spare) {
  for (int64_t c = 0; c < shape_.channels; ++c) std::fill_n(spare.plane[c], shape_.height * shape_.width, 0.0f);
  for (int64_t y = 0; y < shape_.height; ++y) {
    for (int64_t x = 0; x < shape_.width; ++x) {
      const AffineTaps taps = affine_taps(op_, shape_.height, shape_.width, shape_.width, y, x);
      float inside = 0.0f;
      for (int32_t k = 0; k < taps.count; ++k) inside += taps.at[k] < 0 ? 0.0f : taps.weight[k];
      if (!taps.filled) inside = 1.0f;
      for (int32_t k = 0; k < taps.count; ++k) {
        if (taps.at[k] < 0) continue;
        const float weight = taps.weight[k] * inside;
        for (int64_t c = 0; c < shape_.channels; ++c) {
          spare.plane[c][taps.at[k]] += weight * grad.plane[c][y * shape_.width + x];
        }
      }
    }
  }
}

}  // namespace sslfast::cpu
