// Corrupted features, one launch, one block per row, no host synchronisation. All threads draw a tile of words; with an
// exact count one thread walks the tile, because each feature's chance depends on those before; then all threads move
// the tile. Bytes: a cell read (from x or from the bank) and written, one of mask written.
#include "shared/feature_selection.h"
#include "sslfast/feature_corruption.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 4 * kThreads;

struct Nothing {};

template <typename Element>
__device__ void move_cell(const FeatureCorruption& p, int64_t r, int64_t j, int64_t source, bool masked) {
  const auto* x = static_cast<const Element*>(p.x);
  const auto* bank = static_cast<const Element*>(p.bank);
  static_cast<Element*>(p.out)[r * p.draws.features + j] =
      masked ? bank[source * p.bank_row_stride + j * p.bank_stride] : x[r * p.x_row_stride + j * p.x_stride];
}

template <>
__device__ void move_cell<Nothing>(const FeatureCorruption&, int64_t, int64_t, int64_t, bool) {}

template <typename Element>
__global__ void __launch_bounds__(kThreads) corrupt_rows(FeatureCorruption p) {
  __shared__ uint32_t select[kTile], source[kTile];
  const FeatureDraws& d = p.draws;
  const int64_t r = blockIdx.x;
  const uint64_t seed = d.seed.get(), row = d.row_ids[r];
  features::Selection selection(d);
  const uint32_t of_row = philox(seed, Stream::kFeatureSource, row, 0).word[0];
  for (int64_t base = 0; base < d.features; base += kTile) {
    const uint32_t counter = static_cast<uint32_t>(base / 4 + threadIdx.x);
    const Words a = philox(seed, Stream::kFeatureSelect, row, counter);
    const Words b = philox(seed, Stream::kFeatureSource, row, counter);
    for (int k = 0; k < 4; ++k) {
      select[4 * threadIdx.x + k] = a.word[k];
      source[4 * threadIdx.x + k] = d.source == FeatureSource::kRows ? of_row : b.word[k];
    }
    __syncthreads();
    const int n = static_cast<int>(min(static_cast<int64_t>(kTile), d.features - base));
    if (d.exact) {
      if (threadIdx.x == 0) {
        for (int i = 0; i < n; ++i) select[i] = selection.next(select[i]);
      }
      __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += kThreads) {
      const bool masked = d.exact ? select[i] != 0 : select[i] < d.threshold;
      const int64_t from = uniform_below(source[i], d.bank_rows), at = r * d.features + base + i;
      d.mask[at] = masked;
      if (d.sources) d.sources[at] = from;
      move_cell<Element>(p, r, base + i, from, masked);
    }
    __syncthreads();  // the words are drawn over
  }
}

template <typename Element>
cudaError_t run(const FeatureCorruption& p, cudaStream_t stream) {
  if (p.draws.rows == 0) return cudaSuccess;
  if (p.draws.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  corrupt_rows<Element><<<static_cast<unsigned>(p.draws.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t feature_draws(const FeatureDraws& p, cudaStream_t stream) {
  FeatureCorruption all{};
  all.draws = p;
  return run<Nothing>(all, stream);
}

cudaError_t feature_corruption(const FeatureCorruption& p, cudaStream_t stream) {
  switch (p.element_size) {
    case 1:
      return run<uint8_t>(p, stream);
    case 2:
      return run<uint16_t>(p, stream);
    case 4:
      return run<uint32_t>(p, stream);
    default:
      return run<uint64_t>(p, stream);
  }
}

}  // namespace sslfast::cuda
