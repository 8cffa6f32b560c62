// Views from images, at most two launches and no host synchronisation. A block makes kStrip rows of one view, a thread
// some columns of it; resize, colour and normalisation happen in registers, and no intermediate image exists. Contrast
// needs the mean of the view's gray image first: launch 1 makes the same pixels up to that point, for views with
// contrast alone, and writes one partial sum per block; launch 2 adds them in a fixed order, so results repeat.
// Bytes: the crop read once from DRAM (taps overlap in L1 and L2), the view written once, 8 per block of sums.
#include <cub/block/block_reduce.cuh>

#include "shared/image_augment_colour.h"
#include "shared/image_augment_sample.h"
#include "shared/image_augment_taps.h"

namespace sslfast::cuda {
namespace {

using namespace augment;

constexpr int kThreads = 256;
constexpr int kStrip = 16;  // output rows of a block

__global__ void __launch_bounds__(kThreads) draw_params(ImageAugmentParams p) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < p.rows * p.views) {
    sample::view_params(p, p.seed.get(), i / p.views, i % p.views, p.out + i * kViewColumns);
  }
}

// The taps of one output along one axis: pixels first to first + taps - 1, distance of the first from the centre, and
// what an integer weight is multiplied by.
struct Taps {
  int32_t first, distance;
  float share;
};

__device__ Taps taps_of(const Axis& axis, int32_t i, float scale) {
  Taps t;
  t.first = axis.first(i);
  t.distance = axis.distance(i, t.first);
  int64_t sum = 0;
  for (int32_t k = 0; k < axis.taps; ++k) sum += axis.weight(t.distance + 2 * k * axis.target);
  t.share = scale / static_cast<float>(sum);
  return t;
}

// The weighted sum over the taps of one output pixel, in [0, 1].
template <int kChannels, typename Out>
__device__ Pixel<float> resample(const uint8_t* crop, const ImageAugment<Out>& p, const Axis& across, const Axis& down,
                                 const Taps& column, const Taps& row) {
  float sum[3] = {0.0f, 0.0f, 0.0f};
  const uint8_t* line = crop + row.first * p.height_stride + column.first * p.width_stride;
  for (int32_t ky = 0; ky < down.taps; ++ky, line += p.height_stride) {
    const float wy = static_cast<float>(down.weight(row.distance + 2 * ky * down.target)) * row.share;
    const uint8_t* pixel = line;
    for (int32_t kx = 0; kx < across.taps; ++kx, pixel += p.width_stride) {
      const float w = static_cast<float>(across.weight(column.distance + 2 * kx * across.target)) * column.share * wy;
      for (int c = 0; c < kChannels; ++c) sum[c] += w * static_cast<float>(pixel[c * p.channel_stride]);
    }
  }
  return kChannels == 3 ? Pixel<float>{sum[0], sum[1], sum[2]} : Pixel<float>{sum[0], sum[0], sum[0]};
}

// With kMean the block's part of the gray sum that contrast needs, else its part of the view. The threads stand side by
// side, `columns` in a line, and a thread makes every columns-th column of some rows of the strip.
template <typename Out, int kChannels, bool kMean>
__global__ void __launch_bounds__(kThreads) make_views(ImageAugment<Out> p, int32_t parts, int32_t columns) {
  __shared__ Taps rows[kStrip];
  const int64_t item = blockIdx.x / parts, part = blockIdx.x % parts;
  const int64_t image = item / p.views, view = item % p.views;  // an image's views together, for L2
  const View v = read_view(p.params + (image * p.views + view) * kViewColumns, p.height, p.width, kChannels);
  if (kMean && !v.contrast) return;

  const Axis across(v.width, p.out_width), down(v.height, p.out_height);
  const int32_t height = static_cast<int32_t>(p.out_height), width = static_cast<int32_t>(p.out_width);
  const int32_t first_row = static_cast<int32_t>(part) * kStrip;
  const int32_t strip = height - first_row < kStrip ? height - first_row : kStrip;
  const int32_t thread = threadIdx.x, lines = kThreads / columns, line = thread / columns;
  if (thread < strip) rows[thread] = taps_of(down, first_row + thread, 1.0f / 255.0f);

  float mean = 0.0f;
  if (!kMean && v.contrast) {
    double sum = 0.0;
    for (int32_t i = 0; i < parts; ++i) sum += p.sums[item * parts + i];
    mean = static_cast<float>(sum / (static_cast<double>(height) * width));
  }
  __syncthreads();

  const uint8_t* crop = p.images + image * p.row_stride + v.top * p.height_stride + v.left * p.width_stride;
  const int64_t plane = p.out_height * p.out_width;
  Out* out = p.out + (view * p.rows + image) * kChannels * plane + int64_t{first_row} * width;
  float gray_sum = 0.0f;
  for (int32_t x = thread % columns; x < width && line < lines; x += columns) {
    const Taps column = taps_of(across, v.flip ? width - 1 - x : x, 1.0f);
    for (int32_t y = line; y < strip; y += lines) {
      Pixel<float> pixel = resample<kChannels>(crop, p, across, down, column, rows[y]);
      for (uint32_t list = v.before; list; list >>= 4) pixel = jitter<kChannels>(pixel, list & 15u, v);
      if (kMean) {
        gray_sum += kChannels == 3 ? gray(pixel) : pixel.r;
        continue;
      }
      if (v.contrast) {
        pixel = contrast(pixel, v.contrast_factor, (1.0f - v.contrast_factor) * mean);
        for (uint32_t list = v.after; list; list >>= 4) pixel = jitter<kChannels>(pixel, list & 15u, v);
      }
      if (kChannels == 3 && v.gray) pixel.r = pixel.g = pixel.b = gray(pixel);
      Out* at = out + int64_t{y} * width + x;
      store(at, p.gain[0] * pixel.r + p.offset[0]);
      if (kChannels == 3) {
        store(at + plane, p.gain[1] * pixel.g + p.offset[1]);
        store(at + 2 * plane, p.gain[2] * pixel.b + p.offset[2]);
      }
    }
  }
  if (kMean) {
    using Reduce = cub::BlockReduce<double, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    const double sum = Reduce(storage).Sum(gray_sum);
    if (thread == 0) p.sums[item * parts + part] = sum;
  }
}

template <int kChannels, typename Out>
cudaError_t launch(const ImageAugment<Out>& p, cudaStream_t stream) {
  const int64_t parts = contrast_parts(p.out_height), blocks = p.rows * p.views * parts;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const int32_t columns = static_cast<int32_t>(p.out_width < kThreads ? (p.out_width + 31) / 32 * 32 : kThreads);
  const auto grid = static_cast<unsigned>(blocks);
  make_views<Out, kChannels, true><<<grid, kThreads, 0, stream>>>(p, static_cast<int32_t>(parts), columns);
  make_views<Out, kChannels, false><<<grid, kThreads, 0, stream>>>(p, static_cast<int32_t>(parts), columns);
  return cudaGetLastError();
}

template <typename Out>
cudaError_t run(const ImageAugment<Out>& p, cudaStream_t stream) {
  return p.channels == 3 ? launch<3>(p, stream) : launch<1>(p, stream);
}

}  // namespace

int64_t contrast_parts(int64_t out_height) { return (out_height + kStrip - 1) / kStrip; }

cudaError_t image_augment_params(const ImageAugmentParams& p, cudaStream_t stream) {
  const int64_t blocks = (p.rows * p.views + kThreads - 1) / kThreads;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_params<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t image_augment(const ImageAugment<float>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t image_augment(const ImageAugment<BFloat16>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
