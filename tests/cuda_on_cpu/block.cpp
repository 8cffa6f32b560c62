// Orders of turns, by the environment variable CUDA_ON_CPU_ORDER: "ascending" (also where it is not set), "descending",
// or a number, the seed of an order that is drawn anew for every round. Blocks go the same way.
#include "block.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fiber.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kGuard = 64;              // bytes behind a shared array that nobody may write
constexpr std::size_t kSharedLimit = 48 << 10;  // of a block whose kernel may have no more
constexpr std::size_t kMostShared = 227 << 10;  // of any block

enum class State { kReady, kAtBarrier, kInWarp, kDone };

// What the lanes of a warp brought, for those that have not read it yet.
struct Brought {
  Word words[32];
  int readers;
};

bool same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

struct Thread {
  Fiber fiber;
  bool begun = false;
  State state;
  uint3 index;
  std::source_location at;
  unsigned mask, met;
  Word word;
  Brought* brought = nullptr;
  bool vote;
};

struct Order {
  enum { kUp, kDown, kDrawn } kind = kUp;
  std::mt19937_64 draw;

  Order() {
    const char* const name = std::getenv("CUDA_ON_CPU_ORDER");
    const std::string order = name ? name : "ascending";
    if (order == "ascending") return;
    kind = order == "descending" ? kDown : kDrawn;
    if (kind == kDrawn) draw.seed(std::stoull(order));
  }

  template <typename Number>
  void arrange(std::vector<Number>& numbers) {
    std::iota(numbers.begin(), numbers.end(), Number{0});
    if (kind == kDown) std::reverse(numbers.begin(), numbers.end());
    if (kind == kDrawn) std::shuffle(numbers.begin(), numbers.end(), draw);
  }
};

struct Freed {
  void operator()(char* memory) const { std::free(memory); }
};

struct Shared {
  const void* key;
  std::size_t bytes;
  std::unique_ptr<char, Freed> memory;
  bool filled = false;

  Shared(const void* k, std::size_t size) : key(k), bytes(size) {
    void* found = nullptr;
#ifdef __SANITIZE_ADDRESS__
    const std::size_t all = size;  // what lies behind is watched
#else
    const std::size_t all = size + kGuard;
#endif
    if (posix_memalign(&found, 64, all ? all : 1) != 0) throw std::bad_alloc();
    memory.reset(static_cast<char*>(found));
#ifndef __SANITIZE_ADDRESS__
    std::memset(memory.get() + size, 0xA5, kGuard);
#endif
  }

  bool guarded() const {
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    const auto* guard = reinterpret_cast<const unsigned char*>(memory.get()) + bytes;
    return std::all_of(guard, guard + kGuard, [](unsigned char byte) { return byte == 0xA5; });
#endif
  }
};

struct Machine {
  std::mutex busy;
  Order order;
  const Launch* launch = nullptr;
  std::deque<Thread> threads;
  std::deque<Brought> all_brought;
  std::vector<Brought*> unused;
  std::vector<int> turns;
  int count = 0, current = 0, alive = 0, at_barrier = 0;
  bool vote = false;
  std::string error;
  std::vector<Shared> shared;
  std::map<const void*, std::size_t> allowed;  // of dynamic shared memory, for kernels that asked for it
  cudaError_t last = cudaSuccess;

  Thread& self() { return threads[static_cast<std::size_t>(current)]; }
  Thread& at(int i) { return threads[static_cast<std::size_t>(i)]; }

  std::string place(const std::source_location& at) {
    return std::string(at.file_name()) + ":" + std::to_string(at.line());
  }

  // From a thread: ends the launch.
  [[noreturn]] void fail(const std::string& what) {
    error = what;
    self().fiber.suspend();
    std::abort();
  }

  void wait(State state) {
    Thread& me = self();
    me.state = state;
    me.fiber.suspend();
  }

  void meet_block() {
    if (alive == 0 || at_barrier < alive) return;
    for (int i = 0; i < count; ++i) {
      Thread& t = at(i);
      if (t.state != State::kAtBarrier) continue;
      t.vote = vote;
      t.state = State::kReady;
    }
    at_barrier = 0;
    vote = false;
  }

  // The group of lanes that thread i waits with goes on once it is complete.
  bool meet_warp(int i) {
    const int first = i / 32 * 32, lanes = std::min(32, count - first);
    const unsigned mask = at(i).mask;
    unsigned met = 0;
    for (int l = 0; l < lanes; ++l) {
      if (!(mask >> l & 1u) || at(first + l).state == State::kDone) continue;
      const Thread& t = at(first + l);
      if (t.state != State::kInWarp || t.mask != mask || !same(t.at, at(i).at)) return false;
      met |= 1u << l;
    }
    if (unused.empty()) unused.push_back(&all_brought.emplace_back());
    Brought* const brought = unused.back();
    unused.pop_back();
    brought->readers = 0;
    for (int l = 0; l < lanes; ++l) {
      if (!(met >> l & 1u)) continue;
      Thread& t = at(first + l);
      brought->words[l] = t.word;
      ++brought->readers;
      t.brought = brought;
      t.met = met;
      t.state = State::kReady;
    }
    return true;
  }

  void has_read(Thread& t) {
    if (t.brought && --t.brought->readers == 0) unused.push_back(t.brought);
    t.brought = nullptr;
  }

  void leave() {
    has_read(self());
    self().state = State::kDone;
    --alive;
    meet_block();
    const int first = current / 32 * 32;
    for (int i = first; i < std::min(first + 32, count); ++i) {
      if (at(i).state == State::kInWarp) meet_warp(i);
    }
    self().fiber.suspend();
  }

  std::string stuck() {
    std::string what;
    int told = 0;
    const std::source_location* before = nullptr;
    for (int i = 0; i < count; ++i) {
      const Thread& t = at(i);
      if (t.state == State::kDone) continue;
      if (before && same(*before, t.at)) continue;
      if (++told > 6) break;
      before = &t.at;
      what += (told > 1 ? "; thread " : "thread ") + std::to_string(i) + " waits at " + place(t.at);
      what += t.state == State::kAtBarrier ? " for the block" : " for its warp";
    }
    return what + "; " + std::to_string(count - alive) + " have ended";
  }

  void run_block();
  void run_grid(const Launch& what);
  void forget() {
    for (Thread& t : threads) {
      t.begun = false;
      has_read(t);
    }
    shared.clear();
    at_barrier = 0;
    vote = false;
    error.clear();
  }
};

Machine& machine() {
  static Machine only;
  return only;
}

void run_threads() {
  Machine& m = machine();
  m.self().fiber.entered();
  for (;;) {
    m.launch->call(m.launch->kernel);
    m.leave();
  }
}

void Machine::run_block() {
  for (Shared& s : shared) s.filled = false;
  alive = count;
  for (int i = 0; i < count; ++i) {
    Thread& t = at(i);
    t.state = State::kReady;
    const unsigned n = static_cast<unsigned>(i);
    t.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    if (!t.begun) t.fiber.begin(run_threads);
    t.begun = true;
  }
  order.arrange(turns);
  while (alive > 0) {
    bool moved = false;
    for (const int i : turns) {
      Thread& t = at(i);
      if (t.state != State::kReady) continue;
      moved = true;
      current = i;
      threadIdx = t.index;
      t.fiber.resume();
      if (!error.empty()) return;
    }
    if (!moved) {
      error = stuck();
      return;
    }
    if (order.kind == Order::kDrawn) order.arrange(turns);
  }
  for (const Shared& s : shared) {
    if (!s.guarded()) error = "memory behind a shared array of " + std::to_string(s.bytes) + " bytes was written";
  }
}

void Machine::run_grid(const Launch& what) {
  const dim3 g = what.grid, b = what.block;
  const uint64_t size = uint64_t{b.x} * b.y * b.z, blocks = uint64_t{g.x} * g.y * g.z;
  if (size == 0 || blocks == 0 || size > 1024 || b.z > 64 || g.x > INT32_MAX || g.y > UINT16_MAX || g.z > UINT16_MAX ||
      what.shared_bytes > (allowed.count(what.function) ? allowed.at(what.function) : kSharedLimit)) {
    last = cudaErrorInvalidConfiguration;
    return;
  }
  launch = &what;
  gridDim = g;
  blockDim = b;
  count = static_cast<int>(size);
  while (threads.size() < size) threads.emplace_back();
  turns.resize(size);
  shared.emplace_back(nullptr, what.shared_bytes);
  std::vector<uint64_t> numbers(blocks);
  order.arrange(numbers);
  for (const uint64_t n : numbers) {
    blockIdx = {static_cast<unsigned>(n % g.x), static_cast<unsigned>(n / g.x % g.y),
                static_cast<unsigned>(n / g.x / g.y)};
    run_block();
    if (error.empty()) continue;
    const std::string text = "cuda_on_cpu: " + std::string(what.name) + ", block (" + std::to_string(blockIdx.x) +
                             ", " + std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + "): " + error;
    forget();
    throw std::runtime_error(text);
  }
  shared.clear();
}

}  // namespace

void run(const Launch& launch) {
  Machine& m = machine();
  const std::lock_guard lock(m.busy);
  m.run_grid(launch);
}

int thread() { return machine().current; }
int lane() { return machine().current % 32; }
unsigned char garbage_byte() { return 0xFF; }

void need_threads(int count, const std::source_location& at) {
  Machine& m = machine();
  if (m.count == count && m.alive == count) return;
  m.fail(m.place(at) + " wants " + std::to_string(count) + " threads, of which " + std::to_string(m.alive) + " run");
}

void* shared_memory(const void* key, std::size_t bytes) {
  Machine& m = machine();
  auto found = std::find_if(m.shared.begin(), m.shared.end(), [&](const Shared& s) { return s.key == key; });
  if (found == m.shared.end()) {
    m.shared.emplace_back(key, bytes);
    found = m.shared.end() - 1;
    std::size_t all = 0;
    for (const Shared& s : m.shared) all += s.bytes;
    if (all > (m.allowed.count(m.launch->function) ? kMostShared : kSharedLimit))
      m.fail(std::to_string(all) + " bytes of shared memory are more than a block may have");
  }
  if (!found->filled) std::memset(found->memory.get(), garbage_byte(), found->bytes);
  found->filled = true;
  return found->memory.get();
}

void* dynamic_shared() { return shared_memory(nullptr, machine().launch->shared_bytes); }

cudaError_t allow_dynamic_shared(const void* function, int bytes) {
  Machine& m = machine();
  const std::lock_guard lock(m.busy);
  if (bytes < 0 || static_cast<std::size_t>(bytes) > kMostShared) return m.last = cudaErrorInvalidValue;
  m.allowed[function] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

bool meet_block(bool vote, const std::source_location& at) {
  Machine& m = machine();
  Thread& me = m.self();
  for (int i = 0; m.at_barrier > 0 && i < m.count; ++i) {
    const Thread& t = m.at(i);
    if (t.state != State::kAtBarrier) continue;
    if (!same(t.at, at)) {
      m.fail("thread " + std::to_string(m.current) + " is at the barrier of " + m.place(at) + ", thread " +
             std::to_string(i) + " at that of " + m.place(t.at));
    }
    break;
  }
  me.at = at;
  ++m.at_barrier;
  m.vote = m.vote || vote;
  me.state = State::kAtBarrier;
  m.meet_block();
  if (me.state != State::kReady) m.wait(State::kAtBarrier);
  return me.vote;
}

unsigned meet_warp(unsigned mask, const Word& word, const std::source_location& at) {
  Machine& m = machine();
  Thread& me = m.self();
  if (!(mask >> lane() & 1u)) m.fail("lane " + std::to_string(lane()) + " is not in the mask of " + m.place(at));
  m.has_read(me);
  me.at = at;
  me.mask = mask;
  me.word = word;
  me.state = State::kInWarp;
  if (!m.meet_warp(m.current)) m.wait(State::kInWarp);
  return me.met;
}

const Word* met_words() { return machine().self().brought->words; }

void absent_lane(int lane, const std::source_location& at) {
  Machine& m = machine();
  m.fail(m.place(at) + " reads lane " + std::to_string(lane) + ", which is not there");
}

}  // namespace cuda_on_cpu

cudaError_t cudaGetLastError() {
  auto& last = cuda_on_cpu::machine().last;
  const cudaError_t error = last;
  last = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidConfiguration ? "invalid configuration argument" : "invalid argument";
}
