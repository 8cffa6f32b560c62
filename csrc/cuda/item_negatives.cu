// Items for each row: a thread makes the two of one Philox counter and finds them in the thresholds, of which the first
// steps of every bisection stay in L1. Bytes: 4 written a negative. One launch, no host synchronisation.
#include "shared/item_draw.h"
#include "sslfast/item_negatives.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) draw_items(ItemNegatives p) {
  const int64_t counters = (p.negatives + kItemsPerCounter - 1) / kItemsPerCounter, total = p.rows * counters;
  const uint64_t seed = p.seed.get();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total; i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / counters, counter = i - row * counters;
    const Words w =
        philox(seed, Stream::kItemNegatives, static_cast<uint64_t>(p.numbers[row]), static_cast<uint32_t>(counter));
    for (int which = 0; which < kItemsPerCounter; ++which) {
      const int64_t k = kItemsPerCounter * counter + which;
      if (k < p.negatives) p.out[row * p.negatives + k] = draw_item(w, which, p.thresholds, p.items);
    }
  }
}

}  // namespace

cudaError_t item_negatives(const ItemNegatives& p, cudaStream_t stream) {
  const int64_t total = p.rows * ((p.negatives + kItemsPerCounter - 1) / kItemsPerCounter);
  if (total == 0) return cudaSuccess;
  const int64_t blocks = (total + kThreads - 1) / kThreads;
  draw_items<<<static_cast<unsigned>(blocks < (1 << 20) ? blocks : 1 << 20), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
