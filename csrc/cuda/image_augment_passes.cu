// Views of any list of steps; image_augment.cu makes the usual ones without a view that waits. A view takes a first
// pass over the source, and one more for each of its steps that needs the whole view before it (contrast, equalize,
// auto contrast) or the neighbourhood of a pixel (blur, sharpness, affine); what lies between is done in registers.
//
// One launch, whatever the batch: as many blocks as the GPU holds at once take view after view and walk over the tiles
// of each, pass by pass. Between two passes a view waits in planes of floats that belong to the block, so scratch does
// not grow with the batch; sums, ranges and counts are in shared memory. A step that a view does not draw costs
// nothing. Where there are too few views for that, or too large ones, each is shared by several blocks, and every pass
// is a launch of the same kernel; views are the same bits. csrc/shared/image_augment_walk.h has the block's work, which
// a test runs on the CPU.
// Bytes: the box read once from DRAM (taps overlap in L1 and L2), 8 a value and wait, by fours, the view written once.
#include "image_augment_passes.cuh"
#include "image_augment_threads.cuh"
#include "shared/image_augment_walk.h"

namespace sslfast::cuda {
namespace {

using namespace augment;

template <bool kBytes, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocksEach)
    walk_views(const __grid_constant__ ImageAugment p, const __grid_constant__ Walk w, int32_t first, int32_t last) {
  extern __shared__ float4 around[];
  __shared__ WalkBlock block;
  const Threads team{static_cast<int32_t>(threadIdx.x), kThreads};
  for (int64_t i = blockIdx.x; i < w.items * w.parts; i += gridDim.x) {
    const int64_t item = i / w.parts;
    Walker<Memory, kBytes, kChannels, Threads> walker(p, w, w.first + item, w.shared ? item : blockIdx.x,
                                                      static_cast<int32_t>(i % w.parts), block,
                                                      reinterpret_cast<float*>(around), team);
    walker.walk(first, last);
  }
}

// Of the current device: asked of the driver's tables, not of the device itself.
cudaError_t count_processors(int* processors) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) cudaGetLastError();  // it is returned, and not to be found by a later launch
  return error;
}

template <bool kBytes, int kChannels>
cudaError_t launch(const ImageAugment& p, cudaStream_t stream) {
  int processors = 0;
  cudaError_t error = count_processors(&processors);
  if (error != cudaSuccess) return error;
  const Waits list = waits_of(p);
  Walk w = walk_of(p, list, processors);
  lay_out(w, p.scratch);
  const auto kernel = walk_views<kBytes, kChannels>;
  const int bytes = list.shared_floats(kChannels) * 4;
  if (bytes > 0) {
    error = allow_shared(kernel, Waits::most_shared_floats(kChannels));
    if (error != cudaSuccess) return error;
  }
  if (!w.shared) {
    kernel<<<static_cast<unsigned>(w.slots), kThreads, static_cast<size_t>(bytes), stream>>>(p, w, 0, list.passes);
    return cudaGetLastError();
  }
  const int64_t items = items_of(p);
  for (; w.first < items; w.first += w.slots) {
    w.items = items - w.first < w.slots ? items - w.first : w.slots;
    for (int32_t pass = 0; pass < list.passes; ++pass) {
      if (list.counts && pass + 1 < list.passes) {
        error = cudaMemsetAsync(w.count + pass % 2 * w.slots * kCounts, 0, static_cast<size_t>(w.items * kCounts * 4),
                                stream);
        if (error != cudaSuccess) {
          cudaGetLastError();
          return error;
        }
      }
      kernel<<<static_cast<unsigned>(w.items * w.parts), kThreads, static_cast<size_t>(pass > 0 ? bytes : 0), stream>>>(
          p, w, pass, pass + 1);
    }
  }
  return cudaGetLastError();
}

}  // namespace

int64_t passes_scratch(const ImageAugment& p) {
  int processors = 0;
  if (count_processors(&processors) != cudaSuccess) return 0;  // the launch says why
  Walk w = walk_of(p, waits_of(p), processors);
  return lay_out(w, nullptr);
}

cudaError_t make_in_passes(const ImageAugment& p, cudaStream_t stream) {
  if (p.in == Pixels::kUint8) return p.channels == 3 ? launch<true, 3>(p, stream) : launch<true, 1>(p, stream);
  return p.channels == 3 ? launch<false, 3>(p, stream) : launch<false, 1>(p, stream);
}

}  // namespace sslfast::cuda
