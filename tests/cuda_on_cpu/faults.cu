// Kernels with a fault each, and one without, for faults.py.
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <cooperative_groups.h>

#include <cub/block/block_reduce.cuh>

#include "cuda_runtime.h"

namespace {

namespace groups = cooperative_groups;

constexpr int kThreads = 64;

// Every thread takes what the one `ahead` places on wrote: without the barrier the answer depends on the order of
// turns.
__global__ void rotate(float* out, int ahead, bool barrier) {
  __shared__ float values[kThreads];
  const int i = static_cast<int>(threadIdx.x);
  values[i] = static_cast<float>(i);
  if (barrier) __syncthreads();
  out[i] = values[(i + ahead) % kThreads];
}

__global__ void read_unwritten(float* out) {
  __shared__ float values[kThreads];
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void two_barriers(float* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

struct Team {
  __device__ void barrier() const { __syncthreads(); }
};

__global__ void barriers_of_a_team(float* out) {
  const Team team;
  if (threadIdx.x < 32) {
    team.barrier();
  } else {
    team.barrier();
  }
  out[threadIdx.x] = 1.0f;
}

// Threads that have ended are not waited for.
__global__ void some_leave(float* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = static_cast<float>(__popc(__ballot_sync(0xFFFFFFFFu, 1)));
}

__global__ void absent_lanes(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xFFFFFFFFu, 1.0f, 0);
  __syncthreads();
}

__global__ void ended_lane(float* out) {
  if (threadIdx.x % 32 == 31) return;
  out[threadIdx.x] = __shfl_sync(0xFFFFFFFFu, 1.0f, 31);
}

__global__ void write_behind(float* out) {
  __shared__ float values[kThreads];
  values[threadIdx.x] = 0.0f;
  if (threadIdx.x == 0) (&values[0])[kThreads] = 1.0f;
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void everybody_reads_the_sum(float* out) {
  using Reduce = cub::BlockReduce<float, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  out[threadIdx.x] = Reduce(storage).Sum(1.0f);
}

__global__ void dynamic(float* out) {
  extern __shared__ float values[];
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void read_word(float* out, const uint32_t* words, int word) {
  out[threadIdx.x] = static_cast<float>(__ldg(words + word) & 0xFFFFu);
}

// Every block takes what the next one wrote.
__global__ void pass_on(float* out, bool barrier) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, all = gridDim.x * blockDim.x;
  out[i] = static_cast<float>(i);
  if (barrier) groups::this_grid().sync();
  const float next = out[(i + blockDim.x) % all];
  if (barrier) groups::this_grid().sync();
  out[i] = next;
}

__global__ void a_block_leaves() {
  if (blockIdx.x == 2) return;
  groups::this_grid().sync();
}

__global__ void a_thread_leaves() {
  if (blockIdx.x == 2 && threadIdx.x == 5) return;
  groups::this_grid().sync();
}

__global__ void two_grid_barriers() {
  if (blockIdx.x % 2 == 0) {
    groups::this_grid().sync();
  } else {
    groups::this_grid().sync();
  }
}

__global__ void block_and_grid() {
  if (threadIdx.x < 8) {
    __syncthreads();
  } else {
    groups::this_grid().sync();
  }
}

__global__ void meet() { groups::this_grid().sync(); }

template <typename... Expected, typename... Given>
void launch_together(unsigned blocks, unsigned threads, void (*kernel)(Expected...), Given... given) {
  cudaLaunchAttribute together{};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.attrs = &together;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, given...);
}

}  // namespace

// Runs a kernel, on one block or on few, and leaves the message, if there is one.
extern "C" __attribute__((visibility("default"))) int run_kernel(int number, float* out, char* message) {
  const cudaStream_t stream = nullptr;
  *message = 0;
  const std::vector<uint16_t> short_of_a_word = {1, 2, 3};
  const auto* words = reinterpret_cast<const uint32_t*>(short_of_a_word.data());
  try {
    switch (number) {
      case 0:
        rotate<<<1, kThreads, 0, stream>>>(out, 1, true);
        break;
      case 1:
        rotate<<<1, kThreads, 0, stream>>>(out, 1, false);
        break;
      case 2:
        read_unwritten<<<1, kThreads, 0, stream>>>(out);
        break;
      case 3:
        two_barriers<<<1, kThreads, 0, stream>>>(out);
        break;
      case 4:
        some_leave<<<1, kThreads, 0, stream>>>(out);
        break;
      case 5:
        absent_lanes<<<1, kThreads, 0, stream>>>(out);
        break;
      case 6:
        ended_lane<<<1, kThreads, 0, stream>>>(out);
        break;
      case 7:
        write_behind<<<1, kThreads, 0, stream>>>(out);
        break;
      case 8:
        everybody_reads_the_sum<<<1, kThreads, 0, stream>>>(out);
        break;
      case 9:
        dynamic<<<1, kThreads, (48 << 10) + 4, stream>>>(out);
        break;
      case 11:  // what another kernel may have
        cudaFuncSetAttribute(rotate, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10);
        dynamic<<<1, kThreads, (48 << 10) + 4, stream>>>(out);
        break;
      case 12:  // the limit is what was said last
        cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10);
        cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 << 10);
        dynamic<<<1, kThreads, (60 << 10) + 4, stream>>>(out);
        break;
      case 13:
        cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 << 10);
        dynamic<<<1, kThreads, 60 << 10, stream>>>(out);
        break;
      case 14:
        return cudaFuncSetAttribute(dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, (227 << 10) + 4);
      case 15:
        barriers_of_a_team<<<1, kThreads, 0, stream>>>(out);
        break;
      case 16:
        launch_together(4, 16, pass_on, out, true);
        break;
      case 17:
        launch_together(4, 16, pass_on, out, false);
        break;
      case 18:
        launch_together(4, 16, a_block_leaves);
        break;
      case 19:
        launch_together(4, 16, a_thread_leaves);
        break;
      case 20:
        launch_together(4, 16, two_grid_barriers);
        break;
      case 21:
        launch_together(4, 16, block_and_grid);
        break;
      case 22:
        launch_together(16, kThreads, meet);
        break;
      case 23:
        meet<<<1, kThreads, 0, stream>>>();
        break;
      case 24:  // begins in the memory
        read_word<<<1, kThreads, 0, stream>>>(out, words, 1);
        break;
      case 25:  // behind it
        read_word<<<1, kThreads, 0, stream>>>(out, words, 2);
        break;
      default:
        rotate<<<0, kThreads, 0, stream>>>(out, 1, true);
    }
  } catch (const std::runtime_error& error) {
    std::snprintf(message, 500, "%s", error.what());
  }
  return cudaGetLastError();
}
