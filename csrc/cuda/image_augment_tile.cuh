// What a thread of image_augment.cu does for its pixels of a tile: reads them from the source, resized, or from a view
// that waits, blurred, sharpened or as they are.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "shared/image_augment_colour.h"
#include "shared/image_augment_taps.h"

namespace sslfast::cuda {

using namespace augment;

constexpr int kThreads = 256, kTile = 32, kTall = 16;  // a tile is kTall rows of kTile pixels
constexpr int kRows = kTile * kTall / kThreads;        // a thread's pixels lie below each other
constexpr int kMaxReach = 20;                          // of a blur whose tile is in shared memory

// Pixel i. uint8, the usual type, is known at compile time.
template <bool kBytes>
__device__ float load_pixel(const void* pixels, Pixels type, int64_t i) {
  if (kBytes) return static_cast<float>(static_cast<const uint8_t*>(pixels)[i]);
  if (type == Pixels::kFloat) return static_cast<const float*>(pixels)[i];
  if (type == Pixels::kBFloat16) return __bfloat162float(static_cast<const __nv_bfloat16*>(pixels)[i]);
  return __half2float(static_cast<const __half*>(pixels)[i]);
}

__device__ void store_pixel(void* out, Pixels type, int64_t i, float x) {
  if (type == Pixels::kFloat) {
    static_cast<float*>(out)[i] = x;
  } else if (type == Pixels::kBFloat16) {
    static_cast<__nv_bfloat16*>(out)[i] = __float2bfloat16_rn(x);
  } else if (type == Pixels::kHalf) {
    static_cast<__half*>(out)[i] = __float2half_rn(x);
  } else {
    static_cast<uint8_t*>(out)[i] = static_cast<uint8_t>(static_cast<int32_t>(x + 0.5f));
  }
}

// The taps of one output along one axis, and what their weights are multiplied by; none outside the axis.
struct Taps {
  int32_t index, first, count;
  float share;
};

__device__ Taps taps_of(const Axis& axis, int64_t wanted, int32_t padding, float scale) {
  if (padding != kConstant) wanted = padded_place(wanted, axis.target, padding);
  if (wanted < 0 || wanted >= axis.target) return {0, 0, 0, 0.0f};
  Taps t{static_cast<int32_t>(wanted), axis.first(static_cast<int32_t>(wanted)), axis.taps, 0.0f};
  float sum = 0.0f;
  for (int32_t k = 0; k < t.count; ++k) sum += axis.weight(t.index, t.first + k);
  t.share = scale / sum;
  return t;
}

template <bool kBytes, int kChannels>
__device__ Pixel<float> resample(const Image& image, Pixels type, int64_t first, const Axis& across, const Axis& down,
                                 const Taps& column, const Taps& row, float fill) {
  if (column.count == 0 || row.count == 0) return {fill, fill, fill};
  float sum[3] = {0.0f, 0.0f, 0.0f};
  int64_t line = first + row.first * image.height_stride + column.first * image.width_stride;
  for (int32_t ky = 0; ky < row.count; ++ky, line += image.height_stride) {
    const float wy = down.weight(row.index, row.first + ky) * row.share;
    int64_t at = line;
    for (int32_t kx = 0; kx < column.count; ++kx, at += image.width_stride) {
      const float w = across.weight(column.index, column.first + kx) * column.share * wy;
      for (int c = 0; c < kChannels; ++c) {
        sum[c] += w * load_pixel<kBytes>(image.data, type, at + c * image.channel_stride);
      }
    }
  }
  return kChannels == 3 ? Pixel<float>{sum[0], sum[1], sum[2]} : Pixel<float>{sum[0], sum[0], sum[0]};
}

__device__ int32_t reflected(int32_t i, int32_t n) {
  if (n == 1) return 0;
  const int32_t period = 2 * n - 2;
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

// How far a blur reaches across and down, and its weights, from the middle on, if that is at most kMaxReach.
struct Reach {
  int32_t across, down;
};
struct BlurWeights {
  float across[kMaxReach + 1], down[kMaxReach + 1];
};

__device__ Reach reach_of(const Op& blur) {
  const int32_t wide = static_cast<int32_t>(ceilf(4.5f * blur.a));
  const int32_t across = static_cast<int32_t>(blur.b) / 2, down = static_cast<int32_t>(blur.c) / 2;
  return {wide < across ? wide : across, wide < down ? wide : down};
}

__device__ void gaussian(float sigma, int32_t reach, float* weight) {
  float sum = -1.0f;
  for (int32_t k = 0; k <= reach; ++k) {
    weight[k] = expf(-0.5f * static_cast<float>(k * k) / (sigma * sigma));
    sum += 2.0f * weight[k];
  }
  for (int32_t k = 0; k <= reach; ++k) weight[k] /= sum;
}

// One tile of one plane, blurred separably in shared memory: the tile and its neighbourhood, then its rows blurred.
__device__ void blur_tile(const float* plane, int32_t height, int32_t width, int32_t top, int32_t left, Reach reach,
                          const BlurWeights& weight, float* around, float* across, float* out) {
  const int32_t side = kTile + 2 * reach.across, tall = kTall + 2 * reach.down;
  __syncthreads();
  for (int32_t i = threadIdx.x; i < side * tall; i += kThreads) {
    const int32_t y = reflected(top + i / side - reach.down, height),
                  x = reflected(left + i % side - reach.across, width);
    around[i] = plane[int64_t{y} * width + x];
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < tall * kTile; i += kThreads) {
    const float* middle = around + i / kTile * side + i % kTile + reach.across;
    float sum = weight.across[0] * middle[0];
    for (int32_t k = 1; k <= reach.across; ++k) sum += weight.across[k] * (middle[-k] + middle[k]);
    across[i] = sum;
  }
  __syncthreads();
  for (int r = 0; r < kRows; ++r) {
    const float* middle =
        across + (threadIdx.x / kTile + r * (kThreads / kTile) + reach.down) * kTile + threadIdx.x % kTile;
    float sum = weight.down[0] * middle[0];
    for (int32_t k = 1; k <= reach.down; ++k) sum += weight.down[k] * (middle[-k * kTile] + middle[k * kTile]);
    out[r] = sum;
  }
}

// A pixel of a blur that reaches too far for shared memory.
__device__ float blur_far(const float* plane, int32_t height, int32_t width, int32_t y, int32_t x, Reach reach,
                          float sigma) {
  float sum = 0.0f, weights = 0.0f;
  for (int32_t dy = -reach.down; dy <= reach.down; ++dy) {
    const float* row = plane + int64_t{reflected(y + dy, height)} * width;
    for (int32_t dx = -reach.across; dx <= reach.across; ++dx) {
      const float weight = expf(-0.5f * static_cast<float>(dx * dx + dy * dy) / (sigma * sigma));
      sum += weight * row[reflected(x + dx, width)];
      weights += weight;
    }
  }
  return sum / weights;
}

// The pixel blended with its average over 3 x 3, the middle one five times; the frame stays.
__device__ float sharpened(const float* plane, int32_t height, int32_t width, int32_t y, int32_t x, float factor) {
  const float* middle = plane + int64_t{y} * width + x;
  if (y == 0 || x == 0 || y == height - 1 || x == width - 1) return *middle;
  float around = 4.0f * middle[0];
  for (int32_t dy = -1; dy <= 1; ++dy) {
    for (int32_t dx = -1; dx <= 1; ++dx) around += middle[int64_t{dy} * width + dx];
  }
  return saturate(*middle + (1.0f - factor) * (around * (1.0f / 13.0f) - *middle));
}

}  // namespace sslfast::cuda
