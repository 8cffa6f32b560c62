// Views of any list of steps; image_augment.cu makes the usual ones without a view that waits. A view takes a first
// pass over the source, and one more for each of its steps that needs the whole view before it (contrast, equalize,
// auto contrast) or the neighbourhood of a pixel (blur, sharpness, affine); what lies between is done in registers.
//
// One launch, whatever the batch: as many blocks as the GPU holds at once take view after view and walk over the tiles
// of each, pass by pass. Between two passes a view waits in planes of floats that belong to the block, so scratch does
// not grow with the batch; sums, ranges and counts are in shared memory. A step that a view does not draw costs
// nothing. Where there are too few views for that, or too large ones, each is shared by several blocks: a cooperative
// launch, in which all blocks wait for each other between two passes, and what they count for each other is cleared on
// the way, two passes ahead of those that read it. Views are the same bits. csrc/shared/image_augment_walk.h has the
// block's work, which a test runs on the CPU.
// Bytes: the box read once from DRAM (taps overlap in L1 and L2), 8 a value and wait, by fours, the view written once.
// RGBA is made, read and stored by four channels, unless a step needs the whole view: its statistics are per channel.
#include "image_augment_passes.cuh"

#include <cooperative_groups.h>

#include "image_augment_threads.cuh"
#include "shared/image_augment_walk.h"

namespace sslfast::cuda {
namespace {

using namespace augment;

struct Blocks : Threads {
  __device__ void meet() const { cooperative_groups::this_grid().sync(); }
};

template <bool kBytes, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocksEach)
    walk_views(const __grid_constant__ ImageAugment p, const __grid_constant__ Walk w) {
  extern __shared__ float4 around[];
  __shared__ WalkBlock block;
  const Blocks team{{static_cast<int32_t>(threadIdx.x), kThreads}};
  Walker<Memory, kBytes, kChannels, Blocks>(p, w, blockIdx.x, block, reinterpret_cast<float*>(around), team).walk();
}

// A walk of the current device, with a launch that holds all blocks of it at once: how many those may be is asked of
// the driver's tables, not of the device itself.
template <bool kBytes, int kChannels>
struct Planned {
  static constexpr auto kKernel = walk_views<kBytes, kChannels>;
  const ImageAugment& p;
  Walk w{};
  size_t shared_bytes = 0;

  cudaError_t plan() {
    const Waits list = waits_of(p);
    shared_bytes = static_cast<size_t>(list.shared_floats(kChannels)) * 4;
    int device = 0, processors = 0, each = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess && shared_bytes > 0) error = allow_shared(kKernel, Waits::most_shared_floats(kChannels));
    if (error == cudaSuccess) {
      error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kKernel, kThreads, shared_bytes);
    }
    if (error != cudaSuccess) cudaGetLastError();  // it is returned, and not to be found by a later launch
    w = walk_of(p, list, int64_t{processors} * each);
    return error;
  }

  cudaError_t launch(cudaStream_t stream) {
    const cudaError_t error = launch_once(stream);
    if (error != cudaErrorCooperativeLaunchTooLarge) return error;
    w.parts = 1;  // a part of the device has fewer multiprocessors than it says: views are not shared, and need less
    return launch_once(stream);
  }

  cudaError_t launch_once(cudaStream_t stream) {
    lay_out(w, p.scratch);
    cudaLaunchAttribute together{};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = w.shared();
    cudaLaunchConfig_t config{};
    config.gridDim = static_cast<unsigned>(w.slots * w.parts);
    config.blockDim = kThreads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &together;
    config.numAttrs = 1;
    cudaLaunchKernelEx(&config, kKernel, p, w);
    return cudaGetLastError();
  }
};

// What `use` makes of the plan for the pixels of p.
template <typename Use>
auto with_plan(const ImageAugment& p, const Use& use) {
  const int32_t group = waits_of(p).group_of(p.channels);
  if (p.in == Pixels::kUint8) {
    return group == 4 ? use(Planned<true, 4>{p}) : group == 3 ? use(Planned<true, 3>{p}) : use(Planned<true, 1>{p});
  }
  return group == 4 ? use(Planned<false, 4>{p}) : group == 3 ? use(Planned<false, 3>{p}) : use(Planned<false, 1>{p});
}

}  // namespace

int64_t passes_scratch(const ImageAugment& p) {
  return with_plan(p, [](auto planned) {
    return planned.plan() == cudaSuccess ? lay_out(planned.w, nullptr) : int64_t{0};  // the launch says why
  });
}

cudaError_t make_in_passes(const ImageAugment& p, cudaStream_t stream) {
  return with_plan(p, [stream](auto planned) {
    const cudaError_t error = planned.plan();
    return error == cudaSuccess ? planned.launch(stream) : error;
  });
}

}  // namespace sslfast::cuda
