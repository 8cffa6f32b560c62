// Corrupted features, no host synchronisation. One launch, one block per row: all threads draw a tile of words; with an
// exact count one thread walks the tile, because each feature's chance depends on those before (a step is a multiply
// and a compare); then all threads move the tile, a masked cell of a permutation finding its row by itself. Bytes: a
// cell read (from x or from the bank) and written, one of mask written. The range of "uniform" has to be known before
// anything is moved, a launch of its own that reads the bank: maxima of integers, whose order does not matter.
// Backward, one launch: a thread has some of the bank's rows of one column, and x's rows of the same numbers, for
// itself, and walks over all rows of grad's column; nothing is added by two, so nothing is atomic and every run equal.
#include <algorithm>

#include "packs.cuh"
#include "shared/feature_selection.h"
#include "shared/noise_key.h"
#include "sslfast/feature_corruption.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 4 * kThreads;

// The least value as the greatest of the complements, so that both begin at 0.
template <typename T>
__global__ void __launch_bounds__(kThreads) widen_ranges(FeatureCorruption p, unsigned column_blocks, int64_t chunk) {
  const int64_t j = static_cast<int64_t>(blockIdx.x % column_blocks) * kThreads + threadIdx.x;
  if (j >= p.features) return;
  const int64_t first = blockIdx.x / column_blocks * chunk, last = min(p.bank_rows, first + chunk);
  uint64_t low = 0, high = 0;
  bool nan = false;
  for (int64_t r = first; r < last; ++r) {
    const T value = static_cast<const T*>(p.bank)[r * p.bank_row_stride + j * p.bank_stride];
    const double wide = static_cast<double>(static_cast<Wide<T>>(value));
    const uint64_t key = noise_key(wide);
    nan |= wide != wide;
    low = max(low, ~key);
    high = max(high, key);
  }
  atomicMax(reinterpret_cast<unsigned long long*>(p.ranges + j), nan ? ~0ull : low);
  atomicMax(reinterpret_cast<unsigned long long*>(p.ranges + p.features + j), high);
}

template <typename T>
__device__ T uniform_cell(const FeatureCorruption& p, int64_t j, uint32_t word) {
  const double low = key_value(~p.ranges[j]), high = key_value(p.ranges[p.features + j]);
  return static_cast<T>(static_cast<Wide<T>>(features::uniform_value(low, high, word)));
}

template <typename Bits>
struct Moved {
  using Element = Bits;
  static constexpr bool kDrawn = false;
};

template <typename T>
struct Drawn {
  using Element = T;
  static constexpr bool kDrawn = true;
};

template <typename T>
__device__ bool differ(T a, T b, uint64_t infinity) {
  return features::differ(a, b, infinity);
}
template <>
__device__ bool differ(float a, float b, uint64_t) {
  return a != b;
}
template <>
__device__ bool differ(double a, double b, uint64_t) {
  return a != b;
}
template <>
__device__ bool differ(__half a, __half b, uint64_t) {
  return static_cast<float>(a) != static_cast<float>(b);
}
template <>
__device__ bool differ(__nv_bfloat16 a, __nv_bfloat16 b, uint64_t) {
  return static_cast<float>(a) != static_cast<float>(b);
}

template <typename Kind>
__global__ void __launch_bounds__(kThreads) corrupt_rows(FeatureCorruption p) {
  using Element = typename Kind::Element;
  __shared__ uint32_t select[kTile], source[kTile];
  __shared__ uint8_t orders[kShuffled * kThreads];
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  const bool permutes = p.source == FeatureSource::kPermutation;
  const Rectangle sides(p.rows > kShuffled ? p.rows : kShuffled + 1);
  features::Selection selection(p);
  const uint32_t of_row = philox(seed, Stream::kFeatureSource, row, 0).word[0];
  for (int64_t base = 0; base < p.features; base += kTile) {
    const uint32_t counter = static_cast<uint32_t>(base / 4 + threadIdx.x);
    const Words a = philox(seed, Stream::kFeatureSelect, row, counter);
    const Words b = philox(seed, Stream::kFeatureSource, row, counter);
    for (int k = 0; k < 4; ++k) {
      select[4 * threadIdx.x + k] = a.word[k];
      source[4 * threadIdx.x + k] = p.source == FeatureSource::kRows ? of_row : b.word[k];
    }
    __syncthreads();
    const int n = static_cast<int>(min(static_cast<int64_t>(kTile), p.features - base));
    if (p.exact) {
      if (threadIdx.x == 0) {
        for (int i = 0; i < n; ++i) select[i] = selection.next(select[i]);
      }
      __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += kThreads) {
      const bool masked = p.exact ? select[i] != 0 : select[i] < p.threshold;
      const int64_t j = base + i, at = r * p.features + j;
      int64_t from = 0;
      if (!masked) {
        from = -1;
      } else if (permutes && p.rows <= kShuffled) {
        uint8_t* order = orders + threadIdx.x;
        shuffle(features::column_order(seed, j), static_cast<int>(p.rows), order, kThreads);
        from = order[r * kThreads];
      } else if (permutes) {
        from = number_at(sides, DrawnShifts{features::column_order(seed, j), sides}, static_cast<uint32_t>(r));
      } else if (!Kind::kDrawn) {
        from = uniform_below(source[i], static_cast<uint64_t>(p.bank_rows));
      }
      const auto* x = static_cast<const Element*>(p.x) + r * p.x_row_stride + j * p.x_stride;
      Element out;
      if (!masked) {
        out = *x;
      } else if constexpr (Kind::kDrawn) {
        out = uniform_cell<Element>(p, j, source[i]);
      } else {
        out = static_cast<const Element*>(p.bank)[from * p.bank_row_stride + j * p.bank_stride];
      }
      static_cast<Element*>(p.out)[at] = out;
      p.mask[at] = masked && (!p.changed || differ(out, *x, p.infinity));
      if (p.sources) p.sources[at] = static_cast<int32_t>(from);
    }
    __syncthreads();  // the words are drawn over
  }
}

template <typename Kind>
cudaError_t run(const FeatureCorruption& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  corrupt_rows<Kind><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

template <typename T>
cudaError_t run_uniform(const FeatureCorruption& p, cudaStream_t stream) {
  constexpr int64_t kBlocks = 2048;
  const int64_t columns = (p.features + kThreads - 1) / kThreads;
  const int64_t chunks = std::clamp<int64_t>(kBlocks / columns, 1, p.bank_rows);
  const int64_t chunk = (p.bank_rows + chunks - 1) / chunks, blocks = (p.bank_rows + chunk - 1) / chunk * columns;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const cudaError_t error = cudaMemsetAsync(p.ranges, 0, 2 * p.features * sizeof(uint64_t), stream);
  if (error != cudaSuccess) return error;
  widen_ranges<T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p, static_cast<unsigned>(columns), chunk);
  return run<Drawn<T>>(p, stream);
}

// Thread x of a block has column x of 32; thread y of all blocks of these columns the rows of one remainder.
template <typename T>
__global__ void __launch_bounds__(256) corruption_backward(FeatureCorruptionBackward p, unsigned column_blocks) {
  const int64_t j = static_cast<int64_t>(blockIdx.x % column_blocks) * 32 + threadIdx.x;
  if (j >= p.features) return;
  const int64_t part = static_cast<int64_t>(blockIdx.x / column_blocks) * blockDim.y + threadIdx.y;
  const int64_t parts = static_cast<int64_t>(gridDim.x / column_blocks) * blockDim.y;  // a power of two
  const auto grad = [&](int64_t r) { return static_cast<const T*>(p.grad)[r * p.row_stride + j * p.stride]; };
  const auto source = [&](int64_t r) { return p.sources[r * p.features + j]; };
  if (p.x) {
    auto* x = static_cast<T*>(p.x) + j;
    for (int64_t r = part; r < p.rows; r += parts) x[r * p.features] = source(r) < 0 ? grad(r) : T(0.0f);
  }
  if (!p.bank) return;
  auto* bank = static_cast<Wide<T>*>(p.bank) + j;
  for (int64_t s = part; s < p.bank_rows; s += parts) {
    bank[s * p.features] = p.bank_is_x && source(s) < 0 ? static_cast<Wide<T>>(grad(s)) : Wide<T>{0};
  }
  for (int64_t r = 0; r < p.rows; ++r) {
    const int64_t s = source(r);
    if (s >= 0 && (s & (parts - 1)) == part) bank[s * p.features] += static_cast<Wide<T>>(grad(r));
  }
}

template <typename T>
cudaError_t run_backward(const FeatureCorruptionBackward& p, cudaStream_t stream) {
  constexpr int64_t kRowLanes = 8, kBlocks = 512;
  if (p.features == 0) return cudaSuccess;
  const int64_t columns = (p.features + 31) / 32;
  int64_t parts = 1;
  while (parts * columns < kBlocks && parts * kRowLanes < std::max(p.rows, p.bank_rows)) parts *= 2;
  if (columns * parts > INT32_MAX) return cudaErrorInvalidConfiguration;
  const dim3 block(32, kRowLanes);
  corruption_backward<T>
      <<<static_cast<unsigned>(columns * parts), block, 0, stream>>>(p, static_cast<unsigned>(columns));
  return cudaGetLastError();
}

}  // namespace

cudaError_t feature_corruption(const FeatureCorruption& p, cudaStream_t stream) {
  if (p.source == FeatureSource::kUniform) {
    cudaError_t error = cudaErrorInvalidValue;
    by_dtype(p.dtype, [&](auto element) { error = run_uniform<decltype(element)>(p, stream); });
    return error;
  }
  switch (p.element_size) {
    case 1:
      return run<Moved<uint8_t>>(p, stream);
    case 2:
      return run<Moved<uint16_t>>(p, stream);
    case 4:
      return run<Moved<uint32_t>>(p, stream);
    default:
      return run<Moved<uint64_t>>(p, stream);
  }
}

cudaError_t feature_corruption_backward(const FeatureCorruptionBackward& p, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = run_backward<decltype(element)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
