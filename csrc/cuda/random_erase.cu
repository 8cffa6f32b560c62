// Boxes of images erased, one launch, no host synchronisation. Each block draws the box of its image again, where it is
// not given, instead of waiting for one that does; the image's first block stores it. Four neighbouring pixels of a
// channel share a Philox counter and a thread. Out of place: one thread per four pixels of the result. In place: the
// blocks of an image share its box. Bytes: what stays read once, all written once; in place, boxes written once.
#include "packs.cuh"
#include "shared/portable_normal.h"
#include "shared/random_erase_sample.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 4;
constexpr int64_t kBlocksInPlace = 16;  // of an image at most

__global__ void draw_params(RandomEraseParams p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r < p.rows) erase::erase_params(p.draw, p.draw.seed.get(), p.draw.row_ids[r], p.out + r * kEraseColumns);
}

// Pixels [4 g, 4 g + 4) of line y of a channel.
template <typename T>
__device__ void write_group(const RandomErase& p, const LineBox& box, uint64_t key, int64_t r, int64_t channel,
                            int64_t y, int64_t g, bool copied) {
  const int64_t unit = p.to.unit, width = p.to.line / unit, groups = (width + kGroup - 1) / kGroup;
  const int64_t plane = unit == 1 ? channel : 0, within = unit == 1 ? 0 : channel;
  const int64_t end = (g + 1) * kGroup < width ? (g + 1) * kGroup : width;
  const bool boxed = box.has_line(y) && box.left < end * unit && g * kGroup * unit < box.right;
  float noise[kGroup] = {};
  if (boxed && p.noise) {
    const Words w = philox(key, Stream::kEraseNoise, 0,
                           static_cast<uint32_t>((channel * p.to.height + y) * groups) + static_cast<uint32_t>(g));
    const normal::Pair a = normal::normal_pair(w.word[0], w.word[1]), b = normal::normal_pair(w.word[2], w.word[3]);
    noise[0] = a.first;
    noise[1] = a.second;
    noise[2] = b.first;
    noise[3] = b.second;
  }
  const auto value = static_cast<Wide<T>>(p.values[p.value_count == 1 ? 0 : channel]);
  T* to = static_cast<T*>(p.out) + p.to.at(r, plane, y) + within;
  const T* from = static_cast<const T*>(p.x) + p.from.at(r, plane, y) + within;
#pragma unroll
  for (int k = 0; k < kGroup; ++k) {
    const int64_t x = g * kGroup + k;
    if (x >= width) continue;
    if (boxed && box.left <= x * unit && x * unit < box.right) {
      to[x * unit] = static_cast<T>(p.noise ? static_cast<Wide<T>>(noise[k]) : value);
    } else if (copied) {
      to[x * unit] = from[x * unit];
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) erase_images(RandomErase p, int64_t blocks) {
  __shared__ float params[kEraseColumns];
  const int64_t r = blockIdx.x / blocks, block = blockIdx.x - r * blocks;
  if (threadIdx.x == 0) {
    float* stored = p.params + r * kEraseColumns;
    if (!p.drawn) {
      erase::erase_params(p.draw, p.draw.seed.get(), p.draw.row_ids[r], params);
    }
    for (int k = 0; k < kEraseColumns; ++k) {
      if (p.drawn) {
        params[k] = stored[k];
      } else if (block == 0) {
        stored[k] = params[k];
      }
    }
  }
  __syncthreads();
  const LineBox box = line_box(params + kEraseTop, p.to);
  const uint64_t key = erase::noise_key(params);
  const int64_t unit = p.to.unit, channels = p.to.planes * unit, width = p.to.line / unit;
  const bool copied = p.x != p.out;
  const int64_t first = copied ? 0 : box.left / unit / kGroup;
  const int64_t end = copied ? (width + kGroup - 1) / kGroup : (box.right / unit + kGroup - 1) / kGroup;
  const int64_t top = copied ? 0 : box.top, bottom = copied ? p.to.height : box.bottom;
  const int64_t groups = end - first, lines = bottom - top;
  for (int64_t i = block * kThreads + threadIdx.x; i < groups * lines * channels; i += blocks * kThreads) {
    // Neighbouring threads write neighbouring elements: channels of a pixel where those are last.
    int64_t channel, y, g;
    if (unit > 1) {
      channel = i % channels;
      g = i / channels % groups;
      y = i / channels / groups;
    } else {
      g = i % groups;
      y = i / groups % lines;
      channel = i / groups / lines;
    }
    write_group<T>(p, box, key, r, channel, top + y, first + g, copied);
  }
}

template <typename T>
cudaError_t run(const RandomErase& p, cudaStream_t stream) {
  const int64_t unit = p.to.unit, groups = (p.to.line / unit + kGroup - 1) / kGroup * p.to.height * p.to.planes * unit;
  if (p.to.rows == 0) return cudaSuccess;
  int64_t blocks = (groups + kThreads - 1) / kThreads;
  if (p.x == p.out && blocks > kBlocksInPlace) blocks = kBlocksInPlace;
  if (blocks < 1) blocks = 1;
  if (blocks * p.to.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  erase_images<T><<<static_cast<unsigned>(blocks * p.to.rows), kThreads, 0, stream>>>(p, blocks);
  return cudaGetLastError();
}

}  // namespace

cudaError_t random_erase_params(const RandomEraseParams& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  const int64_t blocks = (p.rows + kThreads - 1) / kThreads;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_params<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t random_erase(const RandomErase& p, cudaStream_t stream) {
  if (p.bytes) return run<uint8_t>(p, stream);
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = run<decltype(element)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
