// The positions of a mask, one block per row, two launches, no host synchronisation: launch 1 counts each row, launch 2
// writes the positions where row_slots puts them. The mask is read twice, 2 bytes an element beside the 8 written.
#include <cub/block/block_scan.cuh>

#include "row_slots.cuh"
#include "sslfast/mask_indices.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) count_rows(MaskIndices p) {
  using Reduce = cub::BlockReduce<int64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  const int64_t r = blockIdx.x;
  int64_t count = 0;
  for (int64_t i = threadIdx.x; i < p.length; i += kThreads) count += p.mask[r * p.row_stride + i * p.stride];
  count = Reduce(storage).Sum(count);
  if (threadIdx.x == 0) p.counts[r] = count;
}

__global__ void __launch_bounds__(kThreads) write_rows(MaskIndices p) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t r = blockIdx.x;
  const RowSlots slots = row_slots<kThreads>(p.counts, p.rows, r);
  int64_t slot = slots.first;
  for (int64_t base = 0; base < p.length; base += kThreads) {  // all threads take every step: the scan is a barrier
    const int64_t i = base + threadIdx.x;
    const int hit = i < p.length && p.mask[r * p.row_stride + i * p.stride];
    int rank, found;
    Scan(storage).ExclusiveSum(hit, rank, found);
    if (hit) p.indices[slot + rank] = r * p.length + i;
    slot += found;
    __syncthreads();  // the scan's storage is used again
  }
  fill_unused<kThreads>(p.indices, slots.total, r, p.length);
}

}  // namespace

cudaError_t mask_indices(const MaskIndices& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  count_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  write_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
