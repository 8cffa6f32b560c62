// Masked patches against the pixels of their images, one block a patch and one launch: no patch is cut out of the image
// first, and the normalised target is never stored. With pixels e bytes each: a masked patch is read from the image
// once, into shared memory (a patch that does not fit there is read again, from the cache), its prediction is read once
// and the gradient written once, 2 D e and D e; of the others the gradient's zeros are written.
// target = (x - mean) / deviation, loss = mean f(pred - target), grad = weight / D * f'(pred - target): the backward of
// the loss is done here, and the incoming gradient is one factor.
#include "../shared/masked_patch_pixel.h"
#include "block_sum.cuh"
#include "packs.cuh"
#include "sslfast/masked_patch.h"

namespace sslfast::cuda {
namespace {

using patch::Place;
using patch::State;

constexpr int kThreads = 128;
constexpr int64_t kSharedBytes = 47 << 10;  // less than what a block may have without asking

template <typename T>
__device__ T load_pixel(const MaskedPatch& p, int64_t at) {
  if (p.bytes) return static_cast<T>(static_cast<const uint8_t*>(p.images)[at]);
  switch (p.image_dtype) {
    case Dtype::kFloat32:
      return static_cast<T>(static_cast<const float*>(p.images)[at]);
    case Dtype::kFloat64:
      return static_cast<T>(static_cast<const double*>(p.images)[at]);
    case Dtype::kBfloat16:
      return static_cast<T>(static_cast<const __nv_bfloat16*>(p.images)[at]);
    default:
      return static_cast<T>(static_cast<float>(static_cast<const __half*>(p.images)[at]));
  }
}

// Channel, frame, row and column of the k-th pixel of a patch, plane by plane.
struct Pixel {
  int channel, frame, row, column;
};

__device__ Pixel pixel_at(const MaskedPatch& p, int k) {
  const int columns = static_cast<int>(p.patch[2]), rows = static_cast<int>(p.patch[1]);
  const int frames = static_cast<int>(p.patch[0]);
  return {k / columns / rows / frames, k / columns / rows % frames, k / columns % rows, k % columns};
}

__device__ int64_t offset(const PatchStrides& s, const Pixel& at) {
  return at.channel * s.channel + at.frame * s.frame + at.row * s.row + at.column * s.column;
}

template <typename T>
__device__ T target_pixel(const MaskedPatch& p, int64_t start, int k) {
  const Pixel at = pixel_at(p, k);
  const T value = load_pixel<T>(p, start + offset(p.image_strides, at));
  if (at.channel >= p.scaled) return value;
  return value * static_cast<T>(p.scale[at.channel]) + static_cast<T>(p.shift[at.channel]);
}

// (value - mean - rest) * inverse is normalised; `rest` is what rounding left of the mean.
template <typename T>
struct Scale {
  T mean, rest, inverse;
};

// Of the pixels from first to last.
template <typename T, typename Load>
__device__ Scale<T> scale_of(const MaskedPatch& p, int first, int last, Load load) {
  const T n = static_cast<T>(last - first);
  T sum = 0;
  for (int k = first + threadIdx.x; k < last; k += kThreads) sum += load(k);
  const T mean = block_sum<kThreads>(sum) / n;
  sum = 0;
  for (int k = first + threadIdx.x; k < last; k += kThreads) sum += load(k) - mean;
  const T rest = block_sum<kThreads>(sum) / n;
  T squares = 0;
  for (int k = first + threadIdx.x; k < last; k += kThreads) {
    const T distance = load(k) - mean - rest;
    squares += distance * distance;
  }
  return {mean, rest,
          patch::inverse_deviation(p.norm, block_sum<kThreads>(squares), last - first, static_cast<T>(p.eps))};
}

template <typename T>
struct Scored {
  T loss, slope;
};

template <typename T>
__device__ Scored<T> score(PixelKind kind, T d, T beta) {
  switch (kind) {
    case PixelKind::kSquared:
      return {patch::pixel_loss<PixelKind::kSquared>(d, beta), patch::pixel_slope<PixelKind::kSquared>(d, beta)};
    case PixelKind::kAbsolute:
      return {patch::pixel_loss<PixelKind::kAbsolute>(d, beta), patch::pixel_slope<PixelKind::kAbsolute>(d, beta)};
    default:
      return {patch::pixel_loss<PixelKind::kSmooth>(d, beta), patch::pixel_slope<PixelKind::kSmooth>(d, beta)};
  }
}

template <typename Element, bool kShared>
__global__ void __launch_bounds__(kThreads) score_patches(MaskedPatch p) {
  using T = Wide<Element>;
  extern __shared__ double shared[];
  T* kept = reinterpret_cast<T*>(shared);
  const int64_t i = blockIdx.x, row = i / p.items, item = i % p.items;
  const Place place = patch::place_of(p, row, item);
  const int pixels = static_cast<int>(patch::pixels_of(p)), plane = pixels / static_cast<int>(p.channels);
  Element* grad = p.grad ? static_cast<Element*>(p.grad) + patch::grad_start(p, row, item) : nullptr;
  if (place.state != State::kCounts) {
    const T loss = place.state == State::kNone ? T{0} : static_cast<T>(nan(""));
    for (int k = threadIdx.x; grad && k < pixels; k += kThreads) {
      grad[offset(p.grad_strides, pixel_at(p, k))] = static_cast<Element>(loss);
    }
    if (threadIdx.x == 0) static_cast<T*>(p.loss)[i] = loss;
    return;
  }
  const int64_t start = patch::target_start(p, place);
  if (kShared) {
    for (int k = threadIdx.x; k < pixels; k += kThreads) kept[k] = target_pixel<T>(p, start, k);
    __syncthreads();
  }
  const auto load = [&](int k) { return kShared ? kept[k] : target_pixel<T>(p, start, k); };
  const Element* pred = static_cast<const Element*>(p.pred) + patch::pred_start(p, row, item);
  const T* weights = static_cast<const T*>(p.weights);
  const T weight = weights ? weights[p.one_weight ? 0 : i] : T{1};
  const T factor = weight / static_cast<T>(pixels), beta = static_cast<T>(p.beta);
  const int group = p.norm == PatchNorm::kChannel ? plane : pixels;
  T total = 0;
  for (int first = 0; first < pixels; first += group) {
    Scale<T> scale{T{0}, T{0}, T{1}};
    if (p.norm != PatchNorm::kNone) scale = scale_of<T>(p, first, first + group, load);
    for (int k = threadIdx.x; k < group; k += kThreads) {
      // Neighbouring threads take neighbours of the prediction: of one that has the channels side by side, the
      // channels of a pixel, where all are in the group.
      const int channels = group == pixels && p.pred_strides.channel == 1 ? static_cast<int>(p.channels) : 1;
      const int at = first + (channels == 1 ? k : k % channels * plane + k / channels);
      const Pixel pixel = pixel_at(p, at);
      const T d =
          static_cast<T>(pred[offset(p.pred_strides, pixel)]) - (load(at) - scale.mean - scale.rest) * scale.inverse;
      const Scored<T> found = score(p.kind, d, beta);
      total += found.loss;
      if (grad) grad[offset(p.grad_strides, pixel)] = static_cast<Element>(found.slope * factor);
    }
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) static_cast<T*>(p.loss)[i] = total / static_cast<T>(pixels);
}

template <typename Element>
cudaError_t launch(const MaskedPatch& p, cudaStream_t stream) {
  const int64_t count = p.rows * p.items, bytes = patch::pixels_of(p) * static_cast<int64_t>(sizeof(Wide<Element>));
  if (count > INT32_MAX || patch::pixels_of(p) > INT32_MAX / 2) return cudaErrorInvalidConfiguration;
  const unsigned blocks = static_cast<unsigned>(count);
  if (bytes <= kSharedBytes) {
    score_patches<Element, true><<<blocks, kThreads, static_cast<size_t>(bytes), stream>>>(p);
  } else {
    score_patches<Element, false><<<blocks, kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t masked_patch(const MaskedPatch& p, cudaStream_t stream) {
  if (p.rows == 0 || p.items == 0) return cudaSuccess;
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = launch<decltype(element)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
