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
      const int64_t at = r * d.features + base + i;
      const int64_t from = d.given ? d.given[(base + i) * d.rows + r] : uniform_below(source[i], d.bank_rows);
      d.mask[at] = masked;
      if (d.sources) d.sources[at] = from;
      move_cell<Element>(p, r, base + i, from, masked);
    }
    __syncthreads();  // the words are drawn over
  }
}

constexpr int64_t kSharedRows = 8 << 10;

// One block a column. All threads draw, one shuffles: in shared memory, or in the output where that is too small.
__global__ void __launch_bounds__(kThreads) permute_columns(ColumnPermutations p, bool in_shared) {
  __shared__ uint32_t words[kTile];
  extern __shared__ int32_t shared_order[];
  const int64_t column = blockIdx.x;
  const uint64_t seed = p.seed.get();
  int32_t* out = p.out + column * p.rows;
  int32_t* order = in_shared ? shared_order : out;
  for (int64_t i = threadIdx.x; i < p.rows; i += kThreads) order[i] = static_cast<int32_t>(i);
  for (int64_t first = 0; first < p.rows - 1; first += kTile) {
    const Words w =
        philox(seed, p.stream, static_cast<uint64_t>(column), static_cast<uint32_t>(first / 4 + threadIdx.x));
    for (int k = 0; k < 4; ++k) words[4 * threadIdx.x + k] = w.word[k];
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int k = 0; k < kTile && first + k < p.rows - 1; ++k) {
        const int64_t last = p.rows - 1 - first - k;
        const int64_t other = uniform_below(words[k], static_cast<uint64_t>(last) + 1);
        const int32_t moved = order[last];
        order[last] = order[other];
        order[other] = moved;
      }
    }
    __syncthreads();  // the words are drawn over, the order is read
  }
  if (in_shared) {
    __syncthreads();
    for (int64_t i = threadIdx.x; i < p.rows; i += kThreads) out[i] = order[i];
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

cudaError_t column_permutations(const ColumnPermutations& p, cudaStream_t stream) {
  if (p.columns == 0 || p.rows == 0) return cudaSuccess;
  if (p.columns > INT32_MAX) return cudaErrorInvalidConfiguration;
  const bool in_shared = p.rows <= kSharedRows;
  const size_t bytes = in_shared ? static_cast<size_t>(p.rows) * sizeof(int32_t) : 0;
  permute_columns<<<static_cast<unsigned>(p.columns), kThreads, bytes, stream>>>(p, in_shared);
  return cudaGetLastError();
}

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
