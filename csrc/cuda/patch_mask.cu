// MAE random masking and its two copies. One launch each, no host synchronisation, no atomics.
// Order: up to 4096 patches one block sorts a row in shared memory (a stable radix sort of 32-bit keys that arrive in
// index order: ties fall as on the CPU). Longer rows count ranks instead: the place of a patch is the number of
// (key, index) pairs below its own, with the keys drawn again tile by tile, so neither path needs working memory.
// Copies: one warp per patch, 16 bytes per lane and step where alignment allows. Bytes: 2 keep D e forward,
// keep D e read and L D e written backward, each once.
#include <cub/block/block_radix_sort.cuh>

#include "sslfast/patch_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int kWarp = 32;

__device__ Words draw(const PatchMask& p, uint64_t seed, int64_t r, int64_t counter) {
  return philox(seed, Stream::kPatchOrder, p.row_ids[r], static_cast<uint32_t>(counter));
}

__device__ void store(const PatchMask& p, int64_t r, int64_t patch, int64_t place) {
  if (place < p.keep) p.ids_keep[r * p.keep + place] = patch;
  p.ids_restore[r * p.patches + patch] = place;
  p.mask[r * p.patches + patch] = place >= p.keep;
}

// kItems patches per thread: whole Philox counters. What pads the row sorts behind it, because the sort is stable.
template <int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads) sort_rows(PatchMask p) {
  using Sort = cub::BlockRadixSort<uint32_t, kThreads, kItems, uint16_t>;
  __shared__ typename Sort::TempStorage storage;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  uint32_t keys[kItems];
  uint16_t patches[kItems];
  for (int i = 0; i < kItems; i += 4) {
    const int first = threadIdx.x * kItems + i;
    const Words w = draw(p, seed, r, first / 4);
    for (int k = 0; k < 4; ++k) {
      keys[i + k] = first + k < p.patches ? w.word[k] : 0xFFFFFFFFu;
      patches[i + k] = static_cast<uint16_t>(first + k);
    }
  }
  Sort(storage).Sort(keys, patches);
  for (int i = 0; i < kItems; ++i) {
    const int place = threadIdx.x * kItems + i;
    if (place < p.patches) store(p, r, patches[i], place);
  }
}

constexpr int kRankThreads = 256;
constexpr int kTile = 4096;  // keys in shared memory at a time

// Of the `blocks` blocks of a row, each ranks kRankThreads patches.
__global__ void __launch_bounds__(kRankThreads) rank_rows(PatchMask p, unsigned blocks) {
  __shared__ uint32_t keys[kTile];
  const int64_t r = blockIdx.x / blocks;
  const uint64_t seed = p.seed.get();
  const int64_t mine = static_cast<int64_t>(blockIdx.x % blocks) * kRankThreads + threadIdx.x;
  const Words my_words = draw(p, seed, r, mine / 4);
  uint32_t my_key = 0;
  for (int k = 0; k < 4; ++k) my_key = mine % 4 == k ? my_words.word[k] : my_key;  // an index would go through memory
  int64_t place = 0;
  for (int64_t first = 0; first < p.patches; first += kTile) {
    for (int i = threadIdx.x * 4; i < kTile; i += kRankThreads * 4) {
      const Words w = draw(p, seed, r, (first + i) / 4);
      for (int k = 0; k < 4; ++k) keys[i + k] = w.word[k];
    }
    __syncthreads();
    const int n = static_cast<int>(min(static_cast<int64_t>(kTile), p.patches - first));
    for (int i = 0; i < n; ++i) place += keys[i] < my_key || (keys[i] == my_key && first + i < mine);
    __syncthreads();
  }
  if (mine < p.patches) store(p, r, mine, place);
}

// One warp moves one row of `width` units from `from` (null: zeros) to `out`.
template <typename Unit>
__device__ void copy_row(Unit* out, const Unit* from, int64_t width, int64_t stride) {
  for (int64_t d = threadIdx.x; d < width; d += kWarp) out[d] = from ? from[d * stride] : Unit{};
}

template <typename Unit>
__global__ void gather_rows(PatchGather p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (i >= p.rows * p.keep) return;
  const Unit* from = static_cast<const Unit*>(p.x) + i / p.keep * p.x_row_stride + p.ids_keep[i] * p.x_patch_stride;
  copy_row(static_cast<Unit*>(p.out) + i * p.width, from, p.width, p.x_stride);
}

template <typename Unit>
__global__ void scatter_rows(PatchScatter p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (i >= p.rows * p.patches) return;
  const int64_t place = p.ids_restore[i];
  const Unit* from = nullptr;
  if (place < p.keep) {
    from = static_cast<const Unit*>(p.grad) + i / p.patches * p.grad_row_stride + place * p.grad_patch_stride;
  }
  copy_row(static_cast<Unit*>(p.out) + i * p.width, from, p.width, p.grad_stride);
}

// Whether rows of this tensor can be moved as 16-byte units; if so the three sizes are changed from elements to units.
bool widen(const void* data, int64_t element_size, int64_t& row_stride, int64_t& patch_stride, int64_t stride,
           int64_t& width) {
  const int64_t per_unit = 16 / element_size;
  if (stride != 1 || reinterpret_cast<uintptr_t>(data) % 16 != 0 || width % per_unit != 0 ||
      row_stride % per_unit != 0 || patch_stride % per_unit != 0) {
    return false;
  }
  row_stride /= per_unit;
  patch_stride /= per_unit;
  width /= per_unit;
  return true;
}

// Calls copy(unit, grid, block) with a value of the type that is moved.
template <typename Copy>
cudaError_t for_unit(bool wide, int64_t element_size, int64_t copies, Copy copy) {
  if (copies == 0) return cudaSuccess;
  const dim3 block(kWarp, 8);
  const int64_t blocks = (copies + block.y - 1) / block.y;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(blocks));
  if (wide) {
    copy(uint4{}, grid, block);
  } else if (element_size == 1) {
    copy(uint8_t{}, grid, block);
  } else if (element_size == 2) {
    copy(uint16_t{}, grid, block);
  } else if (element_size == 4) {
    copy(uint32_t{}, grid, block);
  } else {
    copy(uint64_t{}, grid, block);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t patch_mask(const PatchMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  const int64_t rank_blocks = (p.patches + kRankThreads - 1) / kRankThreads;
  if (p.rows > INT32_MAX / rank_blocks) return cudaErrorInvalidConfiguration;
  const unsigned rows = static_cast<unsigned>(p.rows);
  if (p.patches <= 64 * 4) {
    sort_rows<64, 4><<<rows, 64, 0, stream>>>(p);
  } else if (p.patches <= 256 * 4) {
    sort_rows<256, 4><<<rows, 256, 0, stream>>>(p);
  } else if (p.patches <= 512 * 8) {
    sort_rows<512, 8><<<rows, 512, 0, stream>>>(p);
  } else {
    const unsigned blocks = static_cast<unsigned>(rank_blocks);
    rank_rows<<<rows * blocks, kRankThreads, 0, stream>>>(p, blocks);
  }
  return cudaGetLastError();
}

cudaError_t patch_gather(const PatchGather& params, cudaStream_t stream) {
  PatchGather p = params;
  const bool wide = widen(p.x, p.element_size, p.x_row_stride, p.x_patch_stride, p.x_stride, p.width);
  return for_unit(wide, p.element_size, p.rows * p.keep, [&](auto unit, dim3 grid, dim3 block) {
    gather_rows<decltype(unit)><<<grid, block, 0, stream>>>(p);
  });
}

cudaError_t patch_scatter(const PatchScatter& params, cudaStream_t stream) {
  PatchScatter p = params;
  const bool wide = widen(p.grad, p.element_size, p.grad_row_stride, p.grad_patch_stride, p.grad_stride, p.width);
  return for_unit(wide, p.element_size, p.rows * p.patches, [&](auto unit, dim3 grid, dim3 block) {
    scatter_rows<decltype(unit)><<<grid, block, 0, stream>>>(p);
  });
}

}  // namespace sslfast::cuda
