// I-JEPA's and V-JEPA's masks: two launches of one warp a row, no host synchronisation. Launch 1 places the blocks and
// writes the lists as bits. Launch 2, a warp a list: the shortest (or longest) of the batch by a pass over the counts,
// then the numbers of the patches that stay. Bytes: 8 a number written, 8 a count read by every warp, and the bits.
#include "sslfast/jepa_mask.h"

#include "shared/jepa_mask_row.h"

namespace sslfast::cuda {
namespace {

constexpr int kWarp = 32;

__device__ Lanes warp_lanes() { return {static_cast<int>(threadIdx.x), kWarp}; }

__device__ BitGrid grid_in(uint64_t* memory, const JepaLists& p) {
  return {memory, p.lines, p.width, words_per_line(p.width)};
}

__global__ void __launch_bounds__(kWarp) place_rows(IJepaMask p) {
  extern __shared__ uint64_t memory[];
  __shared__ Rectangle targets[kMostBlocks];
  const uint64_t seed = p.contexts.seed.get();
  jepa::ijepa_row(p, seed, blockIdx.x, grid_in(memory, p.contexts), targets, warp_lanes());
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    const Rectangle target = jepa::ijepa_size(p, seed, 0);
    *p.target_size = target.height * target.width;
  }
}

__global__ void __launch_bounds__(kWarp) place_rows(VJepaMask p) {
  extern __shared__ uint64_t memory[];
  jepa::vjepa_row(p, p.lists.seed.get(), blockIdx.x, grid_in(memory, p.lists), warp_lanes());
}

__global__ void __launch_bounds__(kWarp) write_lists(JepaLists p, bool stored) {
  extern __shared__ uint64_t memory[];
  const int64_t list = blockIdx.y, r = blockIdx.x;
  const int64_t size = jepa::list_size(p, list, warp_lanes());
  if (r == 0 && threadIdx.x == 0) p.sizes[list] = size;
  jepa::write_list(p, p.seed.get(), list, r, size, stored ? memory : nullptr, warp_lanes());
}

template <typename Mask>
cudaError_t make_lists(const Mask& mask, const JepaLists& p, cudaStream_t stream) {
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const unsigned rows = static_cast<unsigned>(p.rows);
  place_rows<<<rows, kWarp, p.lines * words_per_line(p.width) * sizeof(uint64_t), stream>>>(mask);
  const int64_t patches = p.lines * p.width;
  const bool stored = p.exact && patches <= kStoredPairs;
  const size_t bytes = stored ? (patches + 3) / 4 * 4 * sizeof(uint64_t) : 0;
  write_lists<<<dim3(rows, static_cast<unsigned>(p.lists)), kWarp, bytes, stream>>>(p, stored);
  return cudaGetLastError();
}

__global__ void __launch_bounds__(kWarp) sizes_without_rows(IJepaMask p) {
  const Rectangle target = jepa::ijepa_size(p, p.contexts.seed.get(), 0);
  if (threadIdx.x == 0) *p.target_size = target.height * target.width;
  if (threadIdx.x < p.contexts.lists) p.contexts.sizes[threadIdx.x] = 0;
}

}  // namespace

cudaError_t ijepa_mask(const IJepaMask& p, cudaStream_t stream) {
  if (p.contexts.rows > 0) return make_lists(p, p.contexts, stream);
  sizes_without_rows<<<1, kWarp, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t vjepa_mask(const VJepaMask& p, cudaStream_t stream) {
  if (p.lists.rows > 0) return make_lists(p, p.lists, stream);
  return cudaMemsetAsync(p.lists.sizes, 0, 2 * sizeof(int64_t), stream);
}

}  // namespace sslfast::cuda
