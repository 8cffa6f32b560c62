// Negatives of masked frames, two launches, no host synchronisation: launch 1 lists the true frames of each row, one
// block a row; in launch 2 a thread makes four negatives of one frame, the words of one Philox counter. A frame's rank
// in the list is found by bisection. Bytes: sizeof(Index) * negatives written a frame.
#include <cub/block/block_scan.cuh>

#include "sslfast/negative_indices.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;

template <typename Index>
__global__ void __launch_bounds__(kThreads) list_frames(NegativeIndices<Index> p) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t r = blockIdx.x;
  int64_t count = 0;
  for (int64_t base = 0; base < p.length; base += kThreads) {  // all threads take every step: the scan is a barrier
    const int64_t t = base + threadIdx.x;
    const int hit = t < p.length && p.mask[r * p.row_stride + t * p.stride];
    int rank, found;
    Scan(storage).ExclusiveSum(hit, rank, found);
    if (hit) p.frames[r * p.length + count + rank] = static_cast<int32_t>(t);
    count += found;
    __syncthreads();  // the scan's storage is used again
  }
  if (threadIdx.x == 0) p.counts[r] = count;
}

template <typename Index>
__global__ void __launch_bounds__(kThreads) draw_negatives(NegativeIndices<Index> p) {
  const int64_t counters = (p.negatives + 3) / 4, total = p.rows * p.length * counters;
  const uint64_t seed = p.seed.get();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total; i += int64_t{gridDim.x} * kThreads) {
    const int64_t frame = i / counters, r = frame / p.length, t = frame - r * p.length, counter = i - frame * counters;
    const int32_t* frames = p.frames + r * p.length;
    const int64_t count = p.counts[r], base = r * p.length;
    const bool masked = p.mask[r * p.row_stride + t * p.stride];
    Index* out = p.out + frame * p.negatives + 4 * counter;
    if (!masked || count == 1) {
      for (int k = 0; k < 4; ++k) {
        if (4 * counter + k < p.negatives) out[k] = static_cast<Index>(base + (masked ? t : 0));
      }
      continue;
    }
    int64_t rank = 0;
    for (int64_t high = count - 1; rank < high;) {
      const int64_t middle = (rank + high) / 2;
      if (frames[middle] < t) {
        rank = middle + 1;
      } else {
        high = middle;
      }
    }
    const Words w = philox(seed, Stream::kNegatives, p.row_ids[r], static_cast<uint32_t>(t * counters + counter));
    for (int k = 0; k < 4; ++k) {
      if (4 * counter + k >= p.negatives) break;
      int64_t drawn = uniform_below(w.word[k], static_cast<uint64_t>(count - 1));
      drawn += drawn >= rank;
      out[k] = static_cast<Index>(base + frames[drawn]);
    }
  }
}

template <typename Index>
cudaError_t run(const NegativeIndices<Index>& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  list_frames<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  const int64_t blocks = (p.rows * p.length * ((p.negatives + 3) / 4) + kThreads - 1) / kThreads;
  draw_negatives<<<static_cast<unsigned>(blocks < (1 << 20) ? blocks : 1 << 20), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t negative_indices(const NegativeIndices<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t negative_indices(const NegativeIndices<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
