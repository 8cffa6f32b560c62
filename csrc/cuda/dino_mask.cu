// DINOv2's masks of a batch: two launches, no host synchronisation. Launch 1, one warp a row: the row's place in the
// batch's order is the number of (word, row) pairs below its own, then its mask and its count. Launch 2, one block a
// row: positions and weights where row_slots puts them. Bytes: 2 a patch, 12 a slot.
#include <cub/block/block_scan.cuh>

#include "block_memory.cuh"
#include "row_slots.cuh"
#include "shared/dino_mask_row.h"

namespace sslfast::cuda {
namespace {

__global__ void __launch_bounds__(kWarp) mask_rows(DinoMask p, bool stored) {
  extern __shared__ uint64_t memory[];
  __shared__ blocks::Tries tries;
  const int64_t r = blockIdx.x;
  const Lanes lanes{static_cast<int>(threadIdx.x), kWarp};
  const uint64_t seed = p.seed.get(), mine = dino::order_pair(p, seed, r);
  int below = 0;
  for (int64_t i = lanes.first; i < p.rows; i += lanes.step) below += dino::order_pair(p, seed, i) < mine;
  const int64_t place = lane_sum(below);
  const BitGrid grid{memory, p.rule.height, p.rule.width, words_per_line(p.rule.width)};
  uint64_t* keys = stored ? memory + grid.height * grid.words : nullptr;
  const int64_t count = dino::write_row(p, seed, r, place, grid, tries, keys, lanes);
  if (lanes.first == 0) p.counts[r] = count;
}

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) write_slots(DinoMask p) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t r = blockIdx.x, patches = p.rule.height * p.rule.width;
  const RowSlots slots = row_slots<kThreads>(p.counts, p.rows, r);
  const float weight = 1.0f / static_cast<float>(p.counts[r]);
  int64_t slot = slots.first;
  for (int64_t base = 0; base < patches && p.counts[r] > 0; base += kThreads) {  // all threads take every step
    const int64_t i = base + threadIdx.x;
    const int hit = i < patches && p.mask[r * patches + i];
    int rank, found;
    Scan(storage).ExclusiveSum(hit, rank, found);
    if (hit && slot + rank < p.capacity) {
      p.indices[slot + rank] = r * patches + i;
      p.weights[slot + rank] = weight;
    }
    slot += found;
    __syncthreads();  // the scan's storage is used again
  }
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = slots.total + r * kThreads + threadIdx.x; i < p.capacity; i += step) {
    p.indices[i] = -1;
    p.weights[i] = 0.0f;
  }
  if (r == 0 && threadIdx.x == 0) *p.total = slots.total;
}

}  // namespace

cudaError_t dino_mask(const DinoMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaMemsetAsync(p.total, 0, sizeof(int64_t), stream);
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const unsigned rows = static_cast<unsigned>(p.rows);
  mask_rows<<<rows, kWarp, block_bytes(p.rule), stream>>>(p, keys_stored(p.rule));
  write_slots<<<rows, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
