// Images of a batch mixed in pairs, no host synchronisation. Parameters: one thread per image. Out of place: one thread
// per 16 bytes of the result; blocks of the same place in all images are neighbours, so that what a block reads as a
// partner another one reads at about that time as its own, and memory sees it once. In place: one thread per 16 bytes
// of a place, which walks through the images along each cycle of partners and holds the one element that would be
// overwritten too early; outside boxes only the first image of a cycle is read. Backward: d x[i] = own part of g[i] +
// partner's part of g[k] for every k whose partner i is. Bytes: the batch read once and written once; in place, boxes
// alone.
#include "packs.cuh"
#include "shared/batch_mix_pixel.h"
#include "shared/batch_mix_sample.h"

namespace sslfast::cuda {
namespace {

using mix::Row;

constexpr int kThreads = 256;
constexpr int kWalkThreads = 128;

__global__ void draw_params(BatchMixParams p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r < p.rows) mix::mix_params(p, p.seed.get(), r, p.out + r * kMixColumns);
}

__global__ void write_targets(MixTargets p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < p.rows * p.classes) p.out[i] = mix::target(p, i / p.classes, i % p.classes);
}

// Where a pack of elements lies in every image.
struct Place {
  int64_t plane, y, e;
};

template <int kPack>
__device__ Place place_of(const ImageLines& image, int64_t pack) {
  const int64_t per_line = image.line / kPack, line = pack / per_line;
  return {line / image.height, line % image.height, (pack - line * per_line) * kPack};
}

template <typename T>
__device__ T mixed(const Row& row, bool boxed, int64_t e, T own, T other) {
  if (row.kind == MixKind::kBlend) {
    const Wide<T> blend = rounded::add(rounded::mul(static_cast<Wide<T>>(other), static_cast<Wide<T>>(row.other)),
                                       rounded::mul(static_cast<Wide<T>>(own), static_cast<Wide<T>>(row.own)));
    if constexpr (std::is_same<T, uint8_t>::value) {
      return mix::to_byte(blend);
    } else {
      return static_cast<T>(blend);
    }
  }
  return boxed && row.box.left <= e && e < row.box.right ? other : own;
}

// Whether a pack holds anything of the partner's, and of the image's own.
template <int kPack>
__device__ bool meets_box(const Row& row, const Place& at) {
  return row.box.has_line(at.y) && row.box.left < at.e + kPack && at.e < row.box.right;
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) mix_packs(BatchMix p, int64_t packs) {
  const int64_t r = blockIdx.x % p.from.rows, pack = blockIdx.x / p.from.rows * kThreads + threadIdx.x;
  if (pack >= packs) return;
  using Packed = Pack<T, kPack>;
  const Place at = place_of<kPack>(p.from, pack);
  const Row row = mix::read_row(p, r);
  const T* x = static_cast<const T*>(p.x) + at.e;
  const bool boxed = row.kind == MixKind::kBox && meets_box<kPack>(row, at);
  const bool two = row.kind == MixKind::kBlend || boxed;
  const Packed own = *reinterpret_cast<const Packed*>(x + p.from.at(r, at.plane, at.y));
  const Packed other = two ? *reinterpret_cast<const Packed*>(x + p.from.at(row.partner, at.plane, at.y)) : own;
  Packed out;
#pragma unroll
  for (int k = 0; k < kPack; ++k) out.at[k] = mixed(row, boxed, at.e + k, own.at[k], other.at[k]);
  *reinterpret_cast<Packed*>(static_cast<T*>(p.out) + p.to.at(r, at.plane, at.y) + at.e) = out;
}

// partners[r], and 0x8000 where r is the least row of its cycle. Whoever is in no cycle is left alone.
__device__ void find_cycles(const BatchMix& p, uint16_t* partners, uint8_t* least) {
  const int rows = static_cast<int>(p.from.rows);
  for (int r = threadIdx.x; r < rows; r += kWalkThreads) {
    partners[r] = static_cast<uint16_t>(mix::read_row(p, r).partner);
  }
  __syncthreads();
  for (int r = threadIdx.x; r < rows; r += kWalkThreads) {
    int at = partners[r];
    for (int steps = 0; at > r && steps < rows; ++steps) at = partners[at];
    least[r] = at == r;
  }
  __syncthreads();
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kWalkThreads) mix_in_place(BatchMix p, int64_t packs) {
  __shared__ uint16_t partners[kMostRowsInPlace];
  __shared__ uint8_t least[kMostRowsInPlace];
  find_cycles(p, partners, least);
  const int64_t pack = static_cast<int64_t>(blockIdx.x) * kWalkThreads + threadIdx.x;
  if (pack >= packs) return;
  using Packed = Pack<T, kPack>;
  const Place at = place_of<kPack>(p.from, pack);
  T* x = static_cast<T*>(p.out) + at.e;
  const auto place = [&](int64_t r) { return reinterpret_cast<Packed*>(x + p.from.at(r, at.plane, at.y)); };
  for (int begin = 0; begin < p.from.rows; ++begin) {
    if (!least[begin]) continue;
    Packed first = *place(begin), own = first;
    bool held = true;  // whether `own` is image r here, or has yet to be read
    int r = begin;
    do {
      const int next = partners[r];
      const Row row = mix::read_row(p, r);
      const bool boxed = row.kind == MixKind::kBox && meets_box<kPack>(row, at);
      const bool two = row.kind == MixKind::kBlend || boxed;
      Packed other = first;
      if (two) {
        if (!held) own = *place(r);
        if (next != begin) other = *place(next);
        Packed out;
#pragma unroll
        for (int k = 0; k < kPack; ++k) out.at[k] = mixed(row, boxed, at.e + k, own.at[k], other.at[k]);
        *place(r) = out;
      }
      held = two;
      own = other;
      r = next;
    } while (r != begin);
  }
}

template <typename T, int kPack>
__device__ void add_part(Wide<T> (&sums)[kPack], const Row& row, bool own, const Place& at, const T* grad) {
  const bool boxed = row.kind == MixKind::kBox && meets_box<kPack>(row, at);
  if (!own && row.kind != MixKind::kBlend && !boxed) return;
  const auto pack = *reinterpret_cast<const Pack<T, kPack>*>(grad);
  const auto weight = static_cast<Wide<T>>(row.kind != MixKind::kBlend ? 1.0 : own ? row.own : row.other);
#pragma unroll
  for (int k = 0; k < kPack; ++k) {
    const bool inside = boxed && row.box.left <= at.e + k && at.e + k < row.box.right;
    if (row.kind == MixKind::kBlend || inside != own) {
      sums[k] = rounded::add(sums[k], rounded::mul(static_cast<Wide<T>>(pack.at[k]), weight));
    }
  }
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) gradient(BatchMixBackward p, int64_t packs) {
  const ImageLines& image = p.mix.from;
  const int64_t r = blockIdx.x % image.rows, pack = blockIdx.x / image.rows * kThreads + threadIdx.x;
  if (pack >= packs) return;
  const Place at = place_of<kPack>(image, pack);
  const T* grad = static_cast<const T*>(p.mix.x) + at.e;
  Wide<T> sums[kPack] = {};
  const Row row = mix::read_row(p.mix, r);
  add_part<T, kPack>(sums, row, true, at, grad + image.at(r, at.plane, at.y));
  for (int64_t u = p.starts[r]; u < p.starts[r + 1]; ++u) {
    const int64_t user = p.users[u];
    const Row other = mix::read_row(p.mix, user);
    add_part<T, kPack>(sums, other, false, at, grad + image.at(user, at.plane, at.y));
  }
  store_pack<T, kPack>(static_cast<T*>(p.mix.out) + p.mix.to.at(r, at.plane, at.y) + at.e, sums);
}

bool in_packs(const ImageLines& image, const void* data, int64_t pack) {
  return aligned(data) && image.line % pack == 0 && image.row_stride % pack == 0 && image.plane_stride % pack == 0 &&
         image.line_stride % pack == 0;
}

// Calls launch(pack size, number of packs of an image).
template <typename T, typename Launch>
cudaError_t by_packs(const BatchMix& p, Launch launch) {
  const int64_t elements = p.from.planes * p.from.height * p.from.line;
  if (p.from.rows == 0 || elements == 0) return cudaSuccess;
  if (in_packs(p.from, p.x, kFullPack<T>) && in_packs(p.to, p.out, kFullPack<T>)) {
    return launch(std::integral_constant<int, kFullPack<T>>{}, elements / kFullPack<T>);
  }
  return launch(std::integral_constant<int, 1>{}, elements);
}

bool grid_of(int64_t packs, int64_t threads, int64_t rows, unsigned& grid) {
  const int64_t blocks = (packs + threads - 1) / threads * rows;
  grid = static_cast<unsigned>(blocks);
  return blocks <= INT32_MAX;
}

template <typename T>
cudaError_t run(const BatchMix& p, cudaStream_t stream) {
  return by_packs<T>(p, [&](auto pack, int64_t packs) {
    constexpr int kPack = decltype(pack)::value;
    unsigned grid;
    if (p.x != p.out) {
      if (!grid_of(packs, kThreads, p.from.rows, grid)) return cudaErrorInvalidConfiguration;
      mix_packs<T, kPack><<<grid, kThreads, 0, stream>>>(p, packs);
    } else {
      if (!grid_of(packs, kWalkThreads, 1, grid) || p.from.rows > kMostRowsInPlace)
        return cudaErrorInvalidConfiguration;
      mix_in_place<T, kPack><<<grid, kWalkThreads, 0, stream>>>(p, packs);
    }
    return cudaGetLastError();
  });
}

template <typename T>
cudaError_t run_backward(const BatchMixBackward& p, cudaStream_t stream) {
  return by_packs<T>(p.mix, [&](auto pack, int64_t packs) {
    constexpr int kPack = decltype(pack)::value;
    unsigned grid;
    if (!grid_of(packs, kThreads, p.mix.from.rows, grid)) return cudaErrorInvalidConfiguration;
    gradient<T, kPack><<<grid, kThreads, 0, stream>>>(p, packs);
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t batch_mix_params(const BatchMixParams& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  unsigned grid;
  if (!grid_of(p.rows, kThreads, 1, grid)) return cudaErrorInvalidConfiguration;
  draw_params<<<grid, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t mix_targets(const MixTargets& p, cudaStream_t stream) {
  unsigned grid;
  if (p.rows * p.classes == 0) return cudaSuccess;
  if (!grid_of(p.rows * p.classes, kThreads, 1, grid)) return cudaErrorInvalidConfiguration;
  write_targets<<<grid, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t batch_mix(const BatchMix& p, cudaStream_t stream) {
  if (p.bytes) return run<uint8_t>(p, stream);
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.dtype, [&](auto element) { error = run<decltype(element)>(p, stream); });
  return error;
}

cudaError_t batch_mix_backward(const BatchMixBackward& p, cudaStream_t stream) {
  cudaError_t error = cudaErrorInvalidValue;
  by_dtype(p.mix.dtype, [&](auto element) { error = run_backward<decltype(element)>(p, stream); });
  return error;
}

}  // namespace sslfast::cuda
