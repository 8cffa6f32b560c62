// Views of any list of steps, in passes; image_augment.cu makes the usual ones in fewer launches. A launch reads the
// parameters, then there is one per pass: a first pass over the source, and one more for each step of the list that
// needs the whole view before it (contrast, equalize, auto contrast) or the neighbourhood of a pixel (blur, sharpness,
// affine). What lies between is done in registers. A block makes a tile of one view; a view that is finished early
// costs its later blocks one read.
//
// Views wait between passes as float planes in scratch, in chunks of kChunkBytes, so that scratch does not grow with
// the batch. Statistics are partial sums per tile, added in a fixed order, or integer counts: results repeat.
// Bytes: the box read once from DRAM (taps overlap in L1 and L2), 8 a value and wait, the view written once.
#include <cub/block/block_reduce.cuh>

#include "image_augment_waiting.cuh"
#include "shared/image_augment_neighbours.h"

namespace sslfast::cuda {
namespace {

using namespace augment;

// What the block knows of its view: the operations of this pass, the first of which may be one that the view waited
// for, and what these need.
struct Block {
  Op op[kMaxOps];
  int32_t ops, waits_for;  // the operation that ends the pass, or -1
  BlurWeights weight;
  float stretch[6], table[3 * 256];
};

__global__ void __launch_bounds__(64) read_views(ImageAugment p, Waiting w, int32_t passes) {
  const int64_t i = int64_t{blockIdx.x} * 64 + threadIdx.x;
  if (i >= w.views) return;
  const int64_t row = (w.first + i) / p.views, view = (w.first + i) % p.views;
  Plan& plan = w.plans[i];
  read_view(p, p.params + (row * p.views + view) * p.columns, p.source(row), plan.view);
  int32_t next = 0;
  for (int32_t k = 0; k <= passes; ++k) {
    plan.first[k] = next;
    if (next == plan.view.count) continue;
    if (k > 0) ++next;
    while (next < plan.view.count && works_on_pixels(plan.view.op[next].code)) ++next;
  }
}

// Statistics of the pass before, where the first operation of this one needs them.
__device__ void read_statistics(const ImageAugment& p, const Waiting& w, int64_t item, int32_t pass, int channels,
                                Block& block) {
  Op& op = block.op[0];
  const int from = (pass - 1) % 2;
  const double pixels = static_cast<double>(p.out_height) * static_cast<double>(p.out_width);
  const int32_t thread = threadIdx.x;
  if (op.code == kOpContrast && thread == 0) {
    double sum = 0.0;
    for (int32_t i = 0; i < w.tiles; ++i) sum += w.gray[from][item * w.tiles + i];
    op.b *= static_cast<float>(sum / pixels);
  }
  if (op.code == kOpAutoContrast && thread < channels) {
    float low = INFINITY, high = -INFINITY;
    for (int32_t i = 0; i < w.tiles; ++i) {
      const float2 range = w.range[from][(item * channels + thread) * w.tiles + i];
      low = fminf(low, range.x);
      high = fmaxf(high, range.y);
    }
    stretch_of(low, high, block.stretch + 2 * thread);
  }
  if (op.code == kOpEqualize && thread < channels) {
    equalize_table(w.count[from] + (item * channels + thread) * 256, p.out_height * p.out_width,
                   block.table + 256 * thread);
  }
  __syncthreads();
  if (thread == 0 && op.code == kOpAutoContrast) {
    op.code = kOpStretch;
    op.table = block.stretch;
  }
  if (thread == 0 && op.code == kOpEqualize) {
    op.code = kOpTable;
    op.table = block.table;
  }
  __syncthreads();
}

// The pixels of this thread as the pass before left them, or moved by the first operation.
template <int kChannels>
__device__ void read_waiting(const ImageAugment& p, const Waiting& w, int64_t item, int32_t pass, int32_t top,
                             int32_t left, Block& block, float* shared, Pixel<float>* pixels) {
  const int32_t height = static_cast<int32_t>(p.out_height), width = static_cast<int32_t>(p.out_width);
  const int64_t plane = p.out_height * p.out_width;
  const float* planes = w.planes[(pass - 1) % 2] + item * kChannels * plane;
  const Op& op = block.op[0];
  Reach reach{0, 0};
  bool near = false;  // enough for shared memory
  if (op.code == kOpBlur) {
    reach = reach_of(op);
    near = reach.across <= kMaxReach && reach.down <= kMaxReach;
    if (threadIdx.x == 0 && near) gaussian(op.a, reach.across, block.weight.across);
    if (threadIdx.x == 32 && near) gaussian(op.a, reach.down, block.weight.down);
    __syncthreads();
  }
  const int32_t x = left + threadIdx.x % kTile;
  for (int c = 0; c < kChannels; ++c) {
    const float* from = planes + c * plane;
    float value[kRows];
    if (near) {
      const int32_t around = (kTile + 2 * reach.across) * (kTall + 2 * reach.down);
      blur_tile(from, height, width, top, left, reach, block.weight, shared, shared + around, value);
    }
    for (int r = 0; r < kRows; ++r) {
      const int32_t y = top + threadIdx.x / kTile + r * (kThreads / kTile);
      if (y >= height || x >= width) continue;
      if (op.code == kOpBlur) {
        if (!near) value[r] = blur_far(from, height, width, y, x, reach, op.a);
      } else if (op.code == kOpSharpness) {
        value[r] = sharpened(from, height, width, y, x, op.a);
      } else if (op.code == kOpAffine) {
        value[r] = affine_taps(op, height, width, y, x).of(from, op.fill[c]);
      } else {
        value[r] = from[int64_t{y} * width + x];
      }
      if (c == 0) pixels[r] = {value[r], value[r], value[r]};
      if (c == 1) pixels[r].g = value[r];
      if (c == 2) pixels[r].b = value[r];
    }
  }
}

__device__ float look_up(const float* table, float x) { return table[to_byte(x)]; }

// NaN and infinity stay, whatever the operations would make of them.
__device__ Pixel<float> painted(Pixel<float> pixel, const Block& block, bool moved) {
  const bool bad = !isfinite(pixel.r + pixel.g + pixel.b);
  for (int32_t k = moved ? 1 : 0; k < block.ops; ++k) {
    const Op& op = block.op[k];
    if (op.code == kOpTable) {
      pixel = {look_up(op.table, pixel.r), look_up(op.table + 256, pixel.g), look_up(op.table + 512, pixel.b)};
    } else {
      pixel = apply(op, pixel);
    }
  }
  return bad ? Pixel<float>{NAN, NAN, NAN} : pixel;
}

template <bool kBytes, int kChannels>
__global__ void __launch_bounds__(kThreads, 2) make_tiles(ImageAugment p, Waiting w, int32_t pass) {
  extern __shared__ float shared[];
  __shared__ Block block;
  const int groups = static_cast<int>(p.channels) / kChannels;
  const int64_t item = blockIdx.x / w.tiles;  // of the chunk: (image, view, group)
  const int32_t tile = blockIdx.x % w.tiles, thread = threadIdx.x;
  const int64_t index = w.first + item / groups, group = item % groups;
  const int64_t row = index / p.views, view = index % p.views;
  const Plan& plan = w.plans[item / groups];
  const View& v = plan.view;
  const int32_t first = plan.first[pass], next = plan.first[pass + 1];
  if (pass > 0 && first == v.count) return;
  if (thread < next - first) {
    block.op[thread] = v.op[first + thread];
    set_fills(p, group * kChannels, block.op[thread]);
  }
  if (thread == 0) {
    block.ops = next - first;
    block.waits_for = next < v.count ? v.op[next].code : -1;
  }
  __syncthreads();

  const int32_t height = static_cast<int32_t>(p.out_height), width = static_cast<int32_t>(p.out_width);
  const int32_t top = tile / w.tiles_across * kTall, left = tile % w.tiles_across * kTile;
  const int32_t x = left + thread % kTile, down_rows = kThreads / kTile;
  Pixel<float> pixels[kRows];
  bool moved = false;
  if (pass == 0) {
    const Image image = p.source(row);
    const int32_t interpolation = static_cast<int32_t>(p.step[0].setting[0]);
    const bool antialias = p.step[0].setting[1] != 0.0f;
    const Axis across(v.width, v.target_width, interpolation, antialias);
    const Axis down(v.height, v.target_height, interpolation, antialias);
    const int64_t corner =
        group * kChannels * image.channel_stride + v.top * image.height_stride + v.left * image.width_stride;
    const float fill = p.step[0].setting[2];
    const int32_t padding = padding_of(fill);
    Pixel<float> outside{p.fill_of(fill, group * kChannels), 0.0f, 0.0f};
    outside.g = kChannels == 3 ? p.fill_of(fill, 1) : outside.r;
    outside.b = kChannels == 3 ? p.fill_of(fill, 2) : outside.r;
    const Taps column = taps_of(across, v.offset_left + (v.flip_left_right ? width - 1 - x : x), padding, 1.0f);
    for (int r = 0; r < kRows; ++r) {
      const int32_t y = top + thread / kTile + r * down_rows;
      if (y >= height || x >= width) continue;
      const Taps line = taps_of(down, v.offset_top + (v.flip_upside_down ? height - 1 - y : y), padding,
                                kBytes ? 1.0f / 255.0f : 1.0f);
      pixels[r] = resample<kBytes, kChannels>(image, p.in, corner, across, down, column, line, outside);
    }
  } else {
    moved = moves_pixels(block.op[0].code);
    if (!moved) read_statistics(p, w, item, pass, kChannels, block);
    read_waiting<kChannels>(p, w, item, pass, top, left, block, shared, pixels);
  }

  const int32_t waits_for = block.waits_for;
  const bool last = waits_for < 0;
  const int64_t plane = p.out_height * p.out_width;
  double gray_sum = 0.0;
  float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  for (int r = 0; r < kRows; ++r) {
    const int32_t y = top + thread / kTile + r * down_rows;
    if (y >= height || x >= width) continue;
    const Pixel<float> done = painted(pixels[r], block, moved);
    const float value[3] = {done.r, done.g, done.b};
    const int64_t at = int64_t{y} * width + x;
    for (int c = 0; c < kChannels; ++c) {
      const int64_t channel = group * kChannels + c;
      if (last) {
        const int64_t image = (view * p.rows + row) * p.channels * plane;
        Memory::store(p.out, p.out_type, image + (p.channels_last ? at * p.channels + channel : channel * plane + at),
                      p.gain[channel] * value[c] + p.offset[channel]);
        continue;
      }
      w.planes[pass % 2][(item * kChannels + c) * plane + at] = value[c];
      low[c] = fminf(low[c], value[c]);
      high[c] = fmaxf(high[c], value[c]);
      if (waits_for == kOpEqualize) {
        atomicAdd(&w.count[pass % 2][(item * kChannels + c) * 256 + to_byte(value[c])], 1);
      }
    }
    gray_sum += kChannels == 3 ? gray(done) : done.r;
  }
  if (waits_for == kOpContrast) {
    using Reduce = cub::BlockReduce<double, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    const double sum = Reduce(storage).Sum(gray_sum);
    if (thread == 0) w.gray[pass % 2][item * w.tiles + tile] = sum;
  }
  if (waits_for == kOpAutoContrast) {
    using Reduce = cub::BlockReduce<float, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    for (int c = 0; c < kChannels; ++c) {
      const float least = Reduce(storage).Reduce(low[c], [](float a, float b) { return fminf(a, b); });
      __syncthreads();
      const float most = Reduce(storage).Reduce(high[c], [](float a, float b) { return fmaxf(a, b); });
      __syncthreads();
      if (thread == 0) w.range[pass % 2][(item * kChannels + c) * w.tiles + tile] = {least, most};
    }
  }
}

template <bool kBytes, int kChannels>
cudaError_t launch(const ImageAugment& p, cudaStream_t stream) {
  const Needs needs = needs_of(p);
  const int64_t views = p.rows * p.views, chunk = chunk_views(p, needs), groups = p.channels / kChannels;
  Waiting w{};
  lay_out(p, needs, chunk, static_cast<char*>(p.scratch), &w);
  w.tiles_across = static_cast<int32_t>(tiles_across(p));
  const int64_t tiles = tiles_of(p);
  if (tiles > INT32_MAX) return cudaErrorInvalidConfiguration;
  w.tiles = static_cast<int32_t>(tiles);
  const int64_t side = kTile + 2 * needs.reach_across, tall = kTall + 2 * needs.reach_down;
  const int64_t bytes = needs.reach_across < 0 ? 0 : tall * (side + kTile) * 4;
  const auto kernel = make_tiles<kBytes, kChannels>;
  if (bytes > 0) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
  }
  for (w.first = 0; w.first < views; w.first += chunk) {
    w.views = views - w.first < chunk ? views - w.first : chunk;
    const int64_t blocks = w.views * groups * tiles;
    if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
    read_views<<<static_cast<unsigned>((w.views + 63) / 64), 64, 0, stream>>>(p, w, needs.passes);
    for (int32_t pass = 0; pass < needs.passes; ++pass) {
      if (needs.counts && pass + 1 < needs.passes) {
        const cudaError_t error =
            cudaMemsetAsync(w.count[pass % 2], 0, static_cast<size_t>(w.views * p.channels * 256 * 4), stream);
        if (error != cudaSuccess) return error;
      }
      kernel<<<static_cast<unsigned>(blocks), kThreads, static_cast<size_t>(pass > 0 ? bytes : 0), stream>>>(p, w,
                                                                                                             pass);
    }
  }
  return cudaGetLastError();
}

}  // namespace

int64_t passes_scratch(const ImageAugment& p) {
  const Needs needs = needs_of(p);
  Waiting unused{};
  return lay_out(p, needs, chunk_views(p, needs), nullptr, &unused);
}

cudaError_t make_in_passes(const ImageAugment& p, cudaStream_t stream) {
  if (p.in == Pixels::kUint8) return p.channels == 3 ? launch<true, 3>(p, stream) : launch<true, 1>(p, stream);
  return p.channels == 3 ? launch<false, 3>(p, stream) : launch<false, 1>(p, stream);
}

}  // namespace sslfast::cuda
