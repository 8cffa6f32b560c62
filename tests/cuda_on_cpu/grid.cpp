// Launches: blocks one after the other, or, of a cooperative launch, all there at once, each by turns up to where it
// waits for the others. The GPU is a small one, of the environment variable CUDA_ON_CPU_PROCESSORS' many
// multiprocessors, 2 where it is not set, so that launches that depend on how many blocks it holds are of all kinds in
// tests of few rows.
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "threads.h"

dim3 blockDim, gridDim;

namespace cuda_on_cpu {
namespace {

// Of the context, which may have a part of the GPU: those of the environment variable CUDA_ON_CPU_PART, or all.
int processors_there() {
  const char* const number = std::getenv("CUDA_ON_CPU_PART");
  return number ? std::atoi(number) : processors();
}

constexpr int kThreadsEach = 512;  // that a multiprocessor holds, as of kernels that take many registers

struct Device {
  std::mutex busy;
  Order order;
  const Launch* launch = nullptr;
  std::deque<Threads> blocks;  // of a cooperative launch; the first stands for all of another
  Threads* running = nullptr;
  std::map<const void*, std::size_t> allowed;  // of dynamic shared memory, for kernels that asked for it
  cudaError_t last = cudaSuccess;
  long long given = 0;  // launches, and memory set

  std::size_t limit(const void* function) const {
    return allowed.count(function) ? allowed.at(function) : kSharedLimit;
  }

  cudaError_t refusal(const Launch& what) const;
  cudaError_t run(const Launch& what);
  void run_alone(const std::vector<uint3>& places, int threads);
  void run_together(const std::vector<uint3>& places, int threads);
  void run_block(Threads& block);
  [[noreturn]] void fail(const Threads& block, const std::string& error);
};

Device& device() {
  static Device only;
  return only;
}

void run_threads() {
  running().entered();
  for (;;) {
    const Launch& launch = *device().launch;
    launch.call(launch.kernel);
    running().leave();
  }
}

void Device::fail(const Threads& block, const std::string& error) {
  const uint3 at = block.index;
  const std::string text = "cuda_on_cpu: " + std::string(launch->name) + ", block (" + std::to_string(at.x) + ", " +
                           std::to_string(at.y) + ", " + std::to_string(at.z) + "): " + error;
  for (Threads& one : blocks) one.forget();
  throw std::runtime_error(text);
}

void Device::run_block(Threads& block) {
  running = &block;
  block.shared.add(nullptr, launch->shared_bytes);
  const std::string error = block.run(order);
  if (!error.empty()) fail(block, error);
}

void Device::run_alone(const std::vector<uint3>& places, int threads) {
  Threads& block = blocks.front();
  std::vector<std::size_t> turns(places.size());
  order.arrange(turns);
  for (const std::size_t i : turns) {
    block.begin(places[i], threads, run_threads);
    run_block(block);
  }
}

void Device::run_together(const std::vector<uint3>& places, int threads) {
  while (blocks.size() < places.size()) blocks.emplace_back();
  for (std::size_t i = 0; i < places.size(); ++i) blocks[i].begin(places[i], threads, run_threads);
  std::vector<std::size_t> turns(places.size());
  for (;;) {
    order.arrange(turns);
    const Threads* waits = nullptr;
    const Threads* left = nullptr;
    for (const std::size_t i : turns) {
      Threads& block = blocks[i];
      if (!block.ended()) run_block(block);
      if (!block.all_alive()) left = &block;
      const Thread* const one = block.waits_for_grid();
      if (!one) continue;
      if (waits && !same(waits->waits_for_grid()->at, one->at)) {
        fail(block, "threads are at the grid's barrier of " + place(one->at) + ", others at that of " +
                        place(waits->waits_for_grid()->at));
      }
      waits = &block;
    }
    if (!waits) return;
    if (left) fail(*waits, waits->waiting() + "; in block " + std::to_string(left->index.x) + " threads have ended");
    for (Threads& block : blocks) block.leave_grid();
  }
}

cudaError_t Device::refusal(const Launch& what) const {
  const dim3 g = what.grid, b = what.block;
  const uint64_t size = uint64_t{b.x} * b.y * b.z, all = uint64_t{g.x} * g.y * g.z;
  if (size == 0 || all == 0 || size > 1024 || b.z > 64 || g.x > INT32_MAX || g.y > UINT16_MAX || g.z > UINT16_MAX ||
      what.shared_bytes > limit(what.function)) {
    return cudaErrorInvalidConfiguration;
  }
  const auto most = static_cast<uint64_t>(processors_there() * blocks_each(static_cast<int>(size), what.shared_bytes));
  return what.cooperative && all > most ? cudaErrorCooperativeLaunchTooLarge : cudaSuccess;
}

cudaError_t Device::run(const Launch& what) {
  ++given;
  const cudaError_t error = refusal(what);
  if (error != cudaSuccess) return last = error;
  launch = &what;
  gridDim = what.grid;
  blockDim = what.block;
  const dim3 g = what.grid;
  std::vector<uint3> places;
  for (unsigned z = 0; z < g.z; ++z) {
    for (unsigned y = 0; y < g.y; ++y) {
      for (unsigned x = 0; x < g.x; ++x) places.push_back({x, y, z});
    }
  }
  if (blocks.empty()) blocks.emplace_back();
  const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  what.cooperative ? run_together(places, threads) : run_alone(places, threads);
  for (Threads& block : blocks) block.shared.clear();
  return cudaSuccess;
}

}  // namespace

Threads& running() { return *device().running; }

cudaError_t run(const Launch& launch) {
  Device& d = device();
  const std::lock_guard lock(d.busy);
  return d.run(launch);
}

void set_memory(void* memory, int value, std::size_t bytes) {
  Device& d = device();
  const std::lock_guard lock(d.busy);
  ++d.given;
  if (bytes > 0) std::memset(memory, value, bytes);
}

int processors() {
  const char* const number = std::getenv("CUDA_ON_CPU_PROCESSORS");
  return number ? std::atoi(number) : 2;
}

int blocks_each(int threads, std::size_t shared_bytes) {
  const int by_threads = threads < kThreadsEach ? kThreadsEach / threads : 1;
  const auto by_memory = static_cast<int>(shared_bytes > 0 ? kMostShared / shared_bytes : by_threads);
  return by_threads < by_memory ? by_threads : by_memory;
}

void* shared_memory(const void* key, std::size_t bytes) {
  Threads& block = running();
  void* const memory = block.shared.array(key, bytes);
  const std::size_t all = block.shared.bytes();
  if (all > (device().allowed.count(device().launch->function) ? kMostShared : kSharedLimit)) {
    block.fail(std::to_string(all) + " bytes of shared memory are more than a block may have");
  }
  return memory;
}

void* dynamic_shared() { return shared_memory(nullptr, device().launch->shared_bytes); }

void meet_grid(const std::source_location& at) {
  if (!device().launch->cooperative)
    running().fail(place(at) + " waits for the grid of a launch that is not cooperative");
  running().meet_grid(at);
}

cudaError_t allow_dynamic_shared(const void* function, int bytes) {
  Device& d = device();
  const std::lock_guard lock(d.busy);
  if (bytes < 0 || static_cast<std::size_t>(bytes) > kMostShared) return d.last = cudaErrorInvalidValue;
  d.allowed[function] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

}  // namespace cuda_on_cpu

// For tests: how often work was given to the GPU.
extern "C" __attribute__((visibility("default"))) long long cuda_on_cpu_launches() {
  return cuda_on_cpu::device().given;
}

cudaError_t cudaGetLastError() {
  auto& last = cuda_on_cpu::device().last;
  const cudaError_t error = last;
  last = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorCooperativeLaunchTooLarge) return "too many blocks in cooperative launch";
  return error == cudaErrorInvalidConfiguration ? "invalid configuration argument" : "invalid argument";
}
