// Views from images without a host synchronisation: one launch draws the parameters, one makes the views, and where a
// list may draw contrast one between them adds up the gray values that it needs. Boxes that are erased at the end are
// drawn and written by the same launches. A block makes some tiles of one view: what their columns and rows take from
// the source, and how much of it, is worked out once a tile, and the operations are done in registers. A blur's
// neighbourhood is made along with the tile, in shared memory, so no view ever waits in global memory;
// csrc/shared/image_augment_block.h has the block's work, which a test runs on the CPU.
//
// Lists with equalize, auto contrast, sharpness, affine maps, RandAugment, a second contrast, a contrast behind a blur
// or a blur that reaches further than kMaxReach are walked over by image_augment_passes.cu, in one launch, too.
// Bytes: the box read once from DRAM (taps overlap in L1 and L2), for contrast again from L2, the view written once,
// and what a box erases once more, by the thread that wrote it. Pixels that lie side by side are read by words and by
// sixteen bytes, RGBA too, whose four channels are made together. Views are written by fours, and where rows are of an
// even width, but no multiple of four, by twos; channels last with one channel, three or a multiple of four, too.
// csrc/shared/image_augment_output.h has what is left. Sums are one a tile, added in a fixed order: results repeat and
// do not depend on the batch.
#include "image_augment_passes.cuh"
#include "image_augment_threads.cuh"
#include "shared/image_augment_block.h"
#include "shared/image_augment_sample.h"
#include "shared/image_augment_waits.h"

namespace sslfast::cuda {
namespace {

using namespace augment;

// Blocks from which on they make several tiles: reading a view's parameters takes one thread a microsecond or so.
constexpr int64_t kManyBlocks = 4096;

// Two blocks of a multiprocessor, not four, of rows that are few: a map about a point takes the registers.
__global__ void __launch_bounds__(kThreads, 2) draw_params(ImageAugmentParams p, bool points) {
  const int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x, all = p.rows * p.views, i = n % all;
  float* const out = p.out + i * p.columns;
  if (n < all) {
    sample::sample_view(p, p.seed.get(), i / p.views, i % p.views, out);
    if (points) sample::keep_points(p, out);
  } else if (n < all * (1 + p.erases)) {  // a box has threads of its own
    sample::sample_erase(p, p.seed.get(), i / p.views, i % p.views, n / all - 1, out);
  }
}

template <bool kBytes, int kChannels>
__global__ void __launch_bounds__(kThreads, 3) sum_views(const __grid_constant__ ImageAugment p, Tiles tiles) {
  __shared__ Block block;
  const Threads team{static_cast<int32_t>(threadIdx.x), kThreads};
  Maker<Memory, kBytes, kChannels, Threads> maker(p, blockIdx.x / tiles.blocks, block, team);
  if (!maker.has_contrast()) return;
  maker.sum_gray(tiles, static_cast<int32_t>(blockIdx.x % tiles.blocks) * tiles.each, static_cast<double*>(p.scratch));
}

template <bool kBytes, int kChannels>
__global__ void __launch_bounds__(kThreads, 2) make_views(const __grid_constant__ ImageAugment p, Tiles tiles) {
  extern __shared__ float around[];
  __shared__ Block block;
  const Threads team{static_cast<int32_t>(threadIdx.x), kThreads};
  Maker<Memory, kBytes, kChannels, Threads> maker(p, blockIdx.x / tiles.blocks, block, team);
  maker.make(tiles, static_cast<int32_t>(blockIdx.x % tiles.blocks) * tiles.each, static_cast<double*>(p.scratch),
             around);
}

template <bool kBytes, int kChannels>
cudaError_t launch_group(const ImageAugment& p, const Whole& list, cudaStream_t stream) {
  const int64_t items = items_of(p, kChannels);
  const Tiles tiles = tiles_of_block(p, items, kManyBlocks);
  const int64_t blocks = items * tiles.blocks;
  if (blocks > INT32_MAX || tiles_of_view(p) > INT32_MAX) return cudaErrorInvalidConfiguration;
  const auto grid = static_cast<unsigned>(blocks);
  if constexpr (kChannels != 4) {
    if (list.contrast) sum_views<kBytes, kChannels><<<grid, kThreads, 0, stream>>>(p, tiles);
  }
  const auto kernel = make_views<kBytes, kChannels>;
  const int bytes = list.shared_floats(kChannels) * 4;
  if (bytes > 0) {
    const cudaError_t error = allow_shared(kernel, Whole::most_shared_floats(kChannels));
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, kThreads, static_cast<size_t>(bytes), stream>>>(p, tiles);
  return cudaGetLastError();
}

template <bool kBytes>
cudaError_t launch(const ImageAugment& p, const Whole& list, cudaStream_t stream) {
  const int32_t group = list.group_of(p.channels);
  return group == 4   ? launch_group<kBytes, 4>(p, list, stream)
         : group == 3 ? launch_group<kBytes, 3>(p, list, stream)
                      : launch_group<kBytes, 1>(p, list, stream);
}

}  // namespace

int64_t image_augment_scratch(const ImageAugment& p) {
  const Whole list = whole_of(p);
  if (!list.possible) return passes_scratch(p);
  if (!list.contrast) return 0;
  return items_of(p, list.group_of(p.channels)) * tiles_of_view(p) * static_cast<int64_t>(sizeof(double));
}

cudaError_t image_augment_params(const ImageAugmentParams& p, cudaStream_t stream) {
  const int64_t blocks = (p.rows * p.views * (1 + p.erases) + kThreads - 1) / kThreads;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_params<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p, sample::has_points(p));
  return cudaGetLastError();
}

cudaError_t image_augment(const ImageAugment& p, cudaStream_t stream) {
  if (p.rows * p.views == 0) return cudaSuccess;
  const Whole list = whole_of(p);
  if (!list.possible) return make_in_passes(p, stream);
  return p.in == Pixels::kUint8 ? launch<true>(p, list, stream) : launch<false>(p, list, stream);
}

}  // namespace sslfast::cuda
