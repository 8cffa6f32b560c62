// Block masks, one warp a row, one launch, no host synchronisation. The row's grid is bits in shared memory: lanes take
// its lines. Up to 4096 patches the keys that complete an exact mask are in shared memory too. Bytes: 1 written a
// patch.
#include "sslfast/block_mask.h"

#include "block_memory.cuh"
#include "shared/block_mask_row.h"

namespace sslfast::cuda {
namespace {

__global__ void __launch_bounds__(kWarp) block_rows(BlockMask p, bool stored) {
  extern __shared__ uint64_t memory[];
  __shared__ blocks::Tries tries;
  const int64_t r = blockIdx.x;
  const Lanes lanes{static_cast<int>(threadIdx.x), kWarp};
  const BitGrid grid{memory, p.rule.height, p.rule.width, words_per_line(p.rule.width)};
  const int64_t patches = p.rule.height * p.rule.width;
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  const double target = blocks::row_target(p, seed, r);
  uint64_t* keys = stored ? memory + grid.height * grid.words : nullptr;
  blocks::fill_row(p.rule, seed, row, target, grid, tries, keys, lanes);
  blocks::write_row(p.rule, seed, row, grid, p.mask + r * patches, lanes);
}

__global__ void __launch_bounds__(kWarp) inverse_block_rows(InverseBlockMask p) {
  blocks::write_inverse_row(p, p.seed.get(), blockIdx.x, {static_cast<int>(threadIdx.x), kWarp});
}

__global__ void __launch_bounds__(kWarp) square_rows(SquareMask p, bool stored) {
  extern __shared__ uint64_t memory[];
  const BitGrid grid{memory, p.height, p.width, words_per_line(p.width)};
  uint64_t* keys = stored ? memory + grid.height * grid.words : nullptr;
  blocks::write_square_row(p, p.seed.get(), blockIdx.x, grid, keys, {static_cast<int>(threadIdx.x), kWarp});
}

}  // namespace

cudaError_t block_mask(const BlockMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  block_rows<<<static_cast<unsigned>(p.rows), kWarp, block_bytes(p.rule), stream>>>(p, keys_stored(p.rule));
  return cudaGetLastError();
}

cudaError_t inverse_block_mask(const InverseBlockMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  inverse_block_rows<<<static_cast<unsigned>(p.rows), kWarp, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t square_mask(const SquareMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const int64_t patches = p.height * p.width;
  const bool stored = patches <= kStoredPairs;
  const int64_t words = p.height * words_per_line(p.width) + (stored ? (patches + 3) / 4 * 4 : 0);
  square_rows<<<static_cast<unsigned>(p.rows), kWarp, words * sizeof(uint64_t), stream>>>(p, stored);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
