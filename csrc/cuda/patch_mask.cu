// MAE random masking: no host synchronisation, no atomics, nothing read but given noise.
// Up to 4096 patches one block sorts a row in shared memory (a stable radix sort of keys that arrive in index order:
// ties fall as on the CPU), in one launch. Longer rows count ranks instead: the place of a patch is the number of (key,
// index) pairs below its own, with the keys drawn again tile by tile, so neither path needs working memory. What is to
// keep its order gets its places from a scan over the mask: by the same block, or for longer rows in a second launch.
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_scan.cuh>

#include "shared/noise_key.h"
#include "sslfast/patch_mask.h"

namespace sslfast::cuda {
namespace {

// Where keys come from, four neighbours at a time. What lies behind the row sorts behind it: the sort is stable.
struct Drawn {
  using Key = uint32_t;
  static __device__ void keys(const PatchMask& p, uint64_t seed, int64_t r, int64_t first, Key (&keys)[4]) {
    const Words w = philox(seed, Stream::kPatchOrder, p.row_ids[r], static_cast<uint32_t>(first / 4));
    for (int k = 0; k < 4; ++k) keys[k] = first + k < p.patches ? w.word[k] : ~Key{0};
  }
};

template <typename T>
struct Given {
  using Key = decltype(noise_key(T{}));
  static __device__ void keys(const PatchMask& p, uint64_t, int64_t r, int64_t first, Key (&keys)[4]) {
    const T* noise = static_cast<const T*>(p.noise) + r * p.noise_row_stride;
    for (int k = 0; k < 4; ++k) {
      keys[k] = first + k < p.patches ? noise_key(noise[(first + k) * p.noise_stride]) : ~Key{0};
    }
  }
};

__device__ void store_prefix(const PatchMask& p, int64_t r) {
  for (int64_t l = threadIdx.x; l < p.prefix; l += blockDim.x) {
    p.ids_keep[r * (p.prefix + p.keep) + l] = l;
    p.ids_restore[r * (p.prefix + p.patches) + l] = l;
    p.mask[r * (p.prefix + p.patches) + l] = false;
  }
}

__device__ void store(const PatchMask& p, int64_t r, int64_t patch, int64_t place) {
  const int64_t token = r * (p.prefix + p.patches) + p.prefix + patch;
  p.mask[token] = place >= p.keep;
  if (p.ascending) return;
  if (place < p.keep) p.ids_keep[r * (p.prefix + p.keep) + p.prefix + place] = p.prefix + patch;
  p.ids_restore[token] = p.prefix + place;
}

// Places in ascending order, from the row's mask. Called by all threads of a block of kThreads.
template <int kThreads>
__device__ void ascend(const PatchMask& p, int64_t r) {
  using Scan = cub::BlockScan<int, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const int64_t kept = p.prefix + p.keep;
  const int64_t tokens = r * (p.prefix + p.patches) + p.prefix;
  int64_t before = 0;  // kept patches of the tiles before
  for (int64_t base = 0; base < p.patches; base += kThreads) {
    const int64_t l = base + threadIdx.x;
    const bool stays = l < p.patches && !p.mask[tokens + l];
    int rank, found;
    Scan(storage).ExclusiveSum(static_cast<int>(stays), rank, found);
    if (stays) p.ids_keep[r * kept + p.prefix + before + rank] = p.prefix + l;
    if (l < p.patches) p.ids_restore[tokens + l] = stays ? p.prefix + before + rank : kept + l - before - rank;
    before += found;
    __syncthreads();  // the scan's storage is used again
  }
}

// kItems patches per thread: whole Philox counters.
template <typename Source, int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads) sort_rows(PatchMask p) {
  using Key = typename Source::Key;
  using Sort = cub::BlockRadixSort<Key, kThreads, kItems, uint16_t>;
  __shared__ typename Sort::TempStorage storage;
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  Key keys[kItems];
  uint16_t patches[kItems];
  for (int i = 0; i < kItems; i += 4) {
    const int first = threadIdx.x * kItems + i;
    Key four[4];
    Source::keys(p, seed, r, first, four);
    for (int k = 0; k < 4; ++k) {
      keys[i + k] = four[k];
      patches[i + k] = static_cast<uint16_t>(first + k);
    }
  }
  Sort(storage).Sort(keys, patches);
  store_prefix(p, r);
  for (int i = 0; i < kItems; ++i) {
    const int place = threadIdx.x * kItems + i;
    if (place < p.patches) store(p, r, patches[i], place);
  }
  if (p.ascending) {
    __syncthreads();  // the mask is written
    ascend<kThreads>(p, r);
  }
}

constexpr int kRankThreads = 256;
constexpr int kTile = 4096;  // keys in shared memory at a time

// Of the `blocks` blocks of a row, each ranks kRankThreads patches.
template <typename Source>
__global__ void __launch_bounds__(kRankThreads) rank_rows(PatchMask p, unsigned blocks) {
  using Key = typename Source::Key;
  __shared__ Key keys[kTile];
  const int64_t r = blockIdx.x / blocks;
  const uint64_t seed = p.seed.get();
  const int64_t mine = static_cast<int64_t>(blockIdx.x % blocks) * kRankThreads + threadIdx.x;
  Key four[4];
  Source::keys(p, seed, r, mine / 4 * 4, four);
  Key my_key = 0;
  for (int k = 0; k < 4; ++k) my_key = mine % 4 == k ? four[k] : my_key;  // an index would go through memory
  int64_t place = 0;
  for (int64_t first = 0; first < p.patches; first += kTile) {
    for (int i = threadIdx.x * 4; i < kTile; i += kRankThreads * 4) {
      Source::keys(p, seed, r, first + i, four);
      for (int k = 0; k < 4; ++k) keys[i + k] = four[k];
    }
    __syncthreads();
    const int n = static_cast<int>(min(static_cast<int64_t>(kTile), p.patches - first));
    for (int i = 0; i < n; ++i) place += keys[i] < my_key || (keys[i] == my_key && first + i < mine);
    __syncthreads();
  }
  if (blockIdx.x % blocks == 0) store_prefix(p, r);
  if (mine < p.patches) store(p, r, mine, place);
}

__global__ void __launch_bounds__(kRankThreads) ascend_rows(PatchMask p) { ascend<kRankThreads>(p, blockIdx.x); }

template <typename Source>
cudaError_t order_rows(const PatchMask& p, cudaStream_t stream) {
  const int64_t rank_blocks = (p.patches + kRankThreads - 1) / kRankThreads;
  if (p.rows > INT32_MAX / rank_blocks) return cudaErrorInvalidConfiguration;
  const unsigned rows = static_cast<unsigned>(p.rows);
  if (p.patches <= 64 * 4) {
    sort_rows<Source, 64, 4><<<rows, 64, 0, stream>>>(p);
  } else if (p.patches <= 256 * 4) {
    sort_rows<Source, 256, 4><<<rows, 256, 0, stream>>>(p);
  } else if (p.patches <= 512 * 8) {
    sort_rows<Source, 512, 8><<<rows, 512, 0, stream>>>(p);
  } else {
    const unsigned blocks = static_cast<unsigned>(rank_blocks);
    rank_rows<Source><<<rows * blocks, kRankThreads, 0, stream>>>(p, blocks);
    if (p.ascending) ascend_rows<<<rows, kRankThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t patch_mask(const PatchMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (!p.noise) return order_rows<Drawn>(p, stream);
  return p.noise_is_double ? order_rows<Given<double>>(p, stream) : order_rows<Given<float>>(p, stream);
}

}  // namespace sslfast::cuda
