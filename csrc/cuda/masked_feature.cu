// Targets of masked tokens from several layers of a teacher: one launch, one block a token, whose threads own features.
// No layer is normalised as a whole or gathered by itself: K D e bytes a token read, D written, and what is read again
// for a variance comes from the cache. Moments over the tokens of a sample, for instance norms: one launch, a block for
// 32 features of a layer's sample, which is read twice. Constants: there is no backward.
#include "block_sum.cuh"
#include "packs.cuh"
#include "sslfast/masked_feature.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanes = 16;  // tokens of a sample that a block of the moments reads at a time

template <typename T>
struct Scale {
  T mean, rest, inverse;
};

// Of `load`, D numbers of which each thread reads its own alone.
template <typename T, typename Load>
__device__ Scale<T> scale_of(int64_t width, T eps, Load load) {
  const T n = static_cast<T>(width);
  T sum = 0;
  for (int64_t d = threadIdx.x; d < width; d += kThreads) sum += load(d);
  const T mean = block_sum<kThreads>(sum) / n;
  sum = 0;
  for (int64_t d = threadIdx.x; d < width; d += kThreads) sum += load(d) - mean;
  const T rest = block_sum<kThreads>(sum) / n;  // what rounding left of the mean
  T squares = 0;
  for (int64_t d = threadIdx.x; d < width; d += kThreads) {
    const T distance = load(d) - mean - rest;
    squares += distance * distance;
  }
  return {mean, rest, T{1} / sqrt(block_sum<kThreads>(squares) / n + eps)};
}

template <typename In>
__device__ const In* token(const Layers& layers, int64_t k, int64_t sample, int64_t place) {
  return static_cast<const In*>(layers.data[k]) + sample * layers.sample_stride[k] + place * layers.token_stride[k];
}

template <typename In>
__global__ void __launch_bounds__(kThreads) make_targets(const __grid_constant__ FeatureTargets p) {
  using T = Wide<In>;
  const Layers& layers = p.layers;
  const int64_t id = p.ids[blockIdx.x], width = layers.width;
  T* out = static_cast<T*>(p.out) + static_cast<int64_t>(blockIdx.x) * width;
  const bool known = id >= 0 && id < layers.samples * layers.length;
  for (int64_t d = threadIdx.x; d < width; d += kThreads) out[d] = known || id == -1 ? T{0} : static_cast<T>(nan(""));
  if (!known) return;
  const int64_t sample = id / layers.length, place = id % layers.length;
  const T eps = static_cast<T>(p.eps);
  for (int64_t k = 0; k < layers.count; ++k) {
    const In* row = token<In>(layers, k, sample, place);
    const auto load = [&](int64_t d) { return static_cast<T>(row[d]); };
    if (p.means) {
      const int64_t at = (k * layers.samples + sample) * width;
      const T *means = static_cast<const T*>(p.means) + at, *scales = static_cast<const T*>(p.scales) + at;
      for (int64_t d = threadIdx.x; d < width; d += kThreads) out[d] += (load(d) - means[d]) * scales[d];
    } else {
      Scale<T> scale{T{0}, T{0}, T{1}};
      if (p.layer_norm) scale = scale_of(width, eps, load);
      for (int64_t d = threadIdx.x; d < width; d += kThreads) {
        out[d] += (load(d) - scale.mean - scale.rest) * scale.inverse;
      }
    }
  }
  const T share = static_cast<T>(layers.count);
  for (int64_t d = threadIdx.x; d < width; d += kThreads) out[d] /= share;
  if (!p.target_norm) return;
  const Scale<T> scale = scale_of(width, eps, [&](int64_t d) { return out[d]; });
  for (int64_t d = threadIdx.x; d < width; d += kThreads) out[d] = (out[d] - scale.mean - scale.rest) * scale.inverse;
}

// The sum over the lanes of a block, in every one.
template <typename T>
__device__ T lane_total(T (&parts)[kLanes][32], T value) {
  __syncthreads();
  parts[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  T sum = 0;
  for (int y = 0; y < kLanes; ++y) sum += parts[y][threadIdx.x];
  return sum;
}

template <typename In>
__global__ void __launch_bounds__(32 * kLanes)
    make_moments(const __grid_constant__ FeatureMoments p, int64_t column_blocks) {
  using T = Wide<In>;
  __shared__ T parts[kLanes][32];
  const Layers& layers = p.layers;
  const int64_t i = blockIdx.x / column_blocks, k = i / layers.samples, sample = i % layers.samples;
  const int64_t d = blockIdx.x % column_blocks * 32 + threadIdx.x;
  const bool inside = d < layers.width;
  const T count = static_cast<T>(layers.length);
  const bool some = inside && layers.length > 0;
  const T origin = some ? static_cast<T>(token<In>(layers, k, sample, 0)[d]) : T{0};  // features may lie far from 0
  T sum = 0;
  for (int64_t l = threadIdx.y; inside && l < layers.length; l += kLanes) {
    sum += static_cast<T>(token<In>(layers, k, sample, l)[d]) - origin;
  }
  const T mean = origin + lane_total(parts, sum) / count;
  T squares = 0;
  for (int64_t l = threadIdx.y; inside && l < layers.length; l += kLanes) {
    const T distance = static_cast<T>(token<In>(layers, k, sample, l)[d]) - mean;
    squares += distance * distance;
  }
  squares = lane_total(parts, squares);
  if (!inside || threadIdx.y != 0) return;
  static_cast<T*>(p.means)[i * layers.width + d] = mean;
  static_cast<T*>(p.scales)[i * layers.width + d] = T{1} / sqrt(squares / count + static_cast<T>(p.eps));
}

}  // namespace

cudaError_t feature_targets(const FeatureTargets& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  by_dtype(p.layers.dtype, [&](auto element) {
    make_targets<decltype(element)><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  });
  return cudaGetLastError();
}

cudaError_t feature_moments(const FeatureMoments& p, cudaStream_t stream) {
  const int64_t columns = (p.layers.width + 31) / 32, blocks = columns * p.layers.count * p.layers.samples;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  by_dtype(p.layers.dtype, [&](auto element) {
    make_moments<decltype(element)><<<static_cast<unsigned>(blocks), dim3(32, kLanes), 0, stream>>>(p, columns);
  });
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
