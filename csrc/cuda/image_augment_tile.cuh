// What a thread of image_augment_passes.cu does for its pixels of a tile: reads them from the source, resized, or from
// a view that waits, blurred, sharpened or as they are.
#pragma once

#include "image_augment_memory.cuh"
#include "shared/image_augment_source.h"

namespace sslfast::cuda {

using namespace augment;

constexpr int kTall = 16;                        // a tile is kTall rows of kTile pixels
constexpr int kRows = kTile * kTall / kThreads;  // a thread's pixels lie below each other

template <bool kBytes, int kChannels>
__device__ Pixel<float> resample(const Image& image, Pixels type, int64_t first, const Axis& across, const Axis& down,
                                 const Taps& column, const Taps& row, const Pixel<float>& outside) {
  if (column.count == 0 || row.count == 0) return outside;
  float sum[3] = {0.0f, 0.0f, 0.0f};
  int64_t line = first + row.first * image.height_stride + column.first * image.width_stride;
  for (int32_t ky = 0; ky < row.count; ++ky, line += image.height_stride) {
    const float wy = down.weight(row.index, row.first + ky) * row.share;
    int64_t at = line;
    for (int32_t kx = 0; kx < column.count; ++kx, at += image.width_stride) {
      const float w = across.weight(column.index, column.first + kx) * column.share * wy;
      for (int c = 0; c < kChannels; ++c) {
        sum[c] += w * Memory::load<kBytes>(image.data, type, at + c * image.channel_stride);
      }
    }
  }
  return kChannels == 3 ? Pixel<float>{sum[0], sum[1], sum[2]} : Pixel<float>{sum[0], sum[0], sum[0]};
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
