// Copies of patches, one launch each, no atomics: one warp per row of the output. Bytes: 2 keep D e forward, keep D e
// read and L D e written backward, each once. The sum for any ids needs no inverse of them: the warp of a place looks
// through the row's ids, 32 at a time, and adds the rows of the gradient that came from there in their order.
#include "copy_units.cuh"
#include "packs.cuh"
#include "sslfast/patch_gather.h"

namespace sslfast::cuda {
namespace {

__device__ int64_t row_of_warp() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }

template <typename Unit>
__global__ void gather_rows(PatchGather p) {
  const int64_t i = row_of_warp();
  if (i >= p.rows * p.keep) return;
  const int64_t id = p.ids[i];
  const Unit* from = nullptr;
  if (id >= 0 && id < p.patches) {
    from = static_cast<const Unit*>(p.x) + i / p.keep % p.x_rows * p.x_row_stride + id * p.x_patch_stride;
  }
  copy_row(static_cast<Unit*>(p.out) + i * p.width, from, p.width, p.x_stride);
}

template <typename Unit>
__global__ void scatter_rows(PatchScatter p) {
  const int64_t i = row_of_warp();
  if (i >= p.rows * p.patches) return;
  const int64_t place = p.ids_restore[i];
  const Unit* from = nullptr;
  if (place < p.keep) {
    from = static_cast<const Unit*>(p.grad) + i / p.patches * p.grad_row_stride + place * p.grad_patch_stride;
  }
  copy_row(static_cast<Unit*>(p.out) + i * p.width, from, p.width, p.grad_stride);
}

// kPack elements of a row per lane; a second look through the ids for the next 32 kPack of them.
template <typename T, int kPack>
__global__ void sum_rows(PatchSum p) {
  const int64_t i = row_of_warp();
  if (i >= p.x_rows * p.patches) return;
  const int64_t n = i / p.patches, l = i % p.patches, copies = p.rows / p.x_rows;
  const T* grad = static_cast<const T*>(p.grad);
  for (int64_t first = 0; first < p.width; first += kWarp * kPack) {
    const int64_t d = first + threadIdx.x * kPack;
    Wide<T> sums[kPack] = {};
    for (int64_t copy = 0; copy < copies; ++copy) {
      const int64_t row = copy * p.x_rows + n;
      for (int64_t base = 0; base < p.keep; base += kWarp) {
        const int64_t k = base + threadIdx.x;
        unsigned hits = __ballot_sync(0xFFFFFFFFu, k < p.keep && p.ids[row * p.keep + k] == l);
        for (; hits; hits &= hits - 1) {
          const int64_t place = base + __ffs(hits) - 1;
          if (d < p.width) add_pack<T, kPack>(sums, grad + row * p.grad_row_stride + place * p.grad_patch_stride + d);
        }
      }
    }
    if (d < p.width) store_pack<T, kPack>(static_cast<T*>(p.out) + i * p.width + d, sums);
  }
}

template <typename T>
void launch_sum(const PatchSum& p, dim3 grid, dim3 block, cudaStream_t stream) {
  constexpr int kPack = kFullPack<T>;
  const bool full = aligned(p.grad) && aligned(p.out) && p.width % kPack == 0 && p.grad_row_stride % kPack == 0 &&
                    p.grad_patch_stride % kPack == 0;
  if (full) {
    sum_rows<T, kPack><<<grid, block, 0, stream>>>(p);
  } else {
    sum_rows<T, 1><<<grid, block, 0, stream>>>(p);
  }
}

}  // namespace

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

cudaError_t patch_sum(const PatchSum& p, cudaStream_t stream) {
  return for_rows(p.x_rows * p.patches, [&](dim3 grid, dim3 block) {
    by_dtype(p.dtype, [&](auto element) { launch_sum<decltype(element)>(p, grid, block, stream); });
  });
}

}  // namespace sslfast::cuda
