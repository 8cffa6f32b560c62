// Rules over tokens, one warp per row and view, one launch for any number of steps, no host synchronisation, nothing
// atomic. A row's slots lie in shared memory, in global scratch where a row is longer than that holds; draws and
// compaction are done by all lanes, swaps, spans and exact choices, each step of which depends on those before, by one.
// Bytes: what is given read once or twice a view, ids, mask and positions written once.
#include "../shared/token_rules.h"
#include "sslfast/token_augment.h"

namespace sslfast::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;  // rows per block, at most
constexpr int64_t kShared = 48 << 10;

struct Fill {
  SSLFAST_HD void operator()(uint64_t seed, Stream stream, uint64_t row, uint32_t element, int64_t counters,
                             uint32_t* words, Lanes lanes) const {
    for (int64_t i = lanes.first; i < counters; i += lanes.step) {
      const Words w = philox(seed, stream, row, element + static_cast<uint32_t>(i));
      for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
    }
  }
};

// One block a processor is asked for, so that the rules need not spill registers.
template <typename Id>
__global__ void __launch_bounds__(kWarp* kWarps, 1)
    augment_rows(const __grid_constant__ TokenAugment<Id> p, int64_t bytes) {
  extern __shared__ uint64_t shared[];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (i >= p.rows * p.views) return;  // the whole warp
  uint8_t* memory = p.scratch ? p.scratch + i * bytes : reinterpret_cast<uint8_t*>(shared) + threadIdx.y * bytes;
  const Lanes lanes{static_cast<int>(threadIdx.x), kWarp};
  token_rules::augment_row<Fill>(p, p.seed.get(), i % p.rows, i / p.rows, memory, lanes);
}

template <typename Id>
cudaError_t run(const TokenAugment<Id>& p, cudaStream_t stream) {
  const int64_t rows = p.rows * p.views;
  if (rows == 0 || p.out_length == 0) return cudaSuccess;
  const int64_t bytes = token_scratch_bytes(p.out_length);
  int warps = kWarps;
  while (!p.scratch && warps > 1 && warps * bytes > kShared) warps /= 2;
  const int64_t blocks = (rows + warps - 1) / warps;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const size_t shared = p.scratch ? 0 : static_cast<size_t>(warps * bytes);
  augment_rows<<<static_cast<unsigned>(blocks), dim3(kWarp, warps), shared, stream>>>(p, bytes);
  return cudaGetLastError();
}

}  // namespace

int64_t token_augment_scratch(int64_t rows, int64_t out_length) {
  const int64_t bytes = token_scratch_bytes(out_length);
  return bytes > kShared ? rows * bytes : 0;
}

cudaError_t token_augment(const TokenAugment<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t token_augment(const TokenAugment<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
