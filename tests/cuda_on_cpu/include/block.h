// Blocks of CUDA threads on the CPU, one block after the other; those of a cooperative launch each up to where it waits
// for the grid. The threads of a block take turns, and each runs until it waits for others: at a barrier, or where a
// warp exchanges values. Whatever needs a barrier that is not there comes out wrong in one order of turns or another;
// order.h says which there are.
//
// A launch ends with std::runtime_error where CUDA would hang or leave something undefined: threads that wait for
// others which never come, or at another place; values of lanes that are not there; memory behind a shared array that
// was written; more shared memory than a block may have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>

#include "cuda_runtime_api.h"

namespace cuda_on_cpu {

struct Launch {
  const char* name;
  const void* function;
  dim3 grid, block;
  std::size_t shared_bytes;
  void (*call)(const void* kernel);
  const void* kernel;
  bool cooperative = false;
};

cudaError_t run(const Launch& launch);

template <typename Kernel>
void launch(const char* name, const void* function, dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t,
            const Kernel& kernel) {
  run({name, function, grid, block, shared_bytes, [](const void* k) { (*static_cast<const Kernel*>(k))(); }, &kernel});
}

// ---- called by threads

int thread();  // its number in the block
int lane();
// For collective calls of a whole block: an error unless it has `count` threads, all still running.
void need_threads(int count, const std::source_location& at);

// Memory of the block that `key` stands for; full of garbage until the block writes it.
void* shared_memory(const void* key, std::size_t bytes);
void* dynamic_shared();

template <typename T>
T& shared(const void* key) {
  return *static_cast<T*>(shared_memory(key, sizeof(T)));
}

unsigned char garbage_byte();

template <typename T>
T garbage() {
  T value;
  std::memset(static_cast<void*>(&value), garbage_byte(), sizeof(T));
  return value;
}

// Waits for all threads of the block that have not ended; whether one of them brought `vote`.
bool meet_block(bool vote, const std::source_location& at);
// Waits for all threads of all blocks, none of which may have ended.
void meet_grid(const std::source_location& at);

struct Word {
  uint64_t part[2];
};

// What the lanes of a warp brought; known until the thread waits again.
template <typename T>
struct Met {
  unsigned lanes;
  const Word* word;
  const std::source_location* at;

  T of(int lane) const;

  template <typename Operation>
  T fold(Operation operation) const {
    bool some = false;
    T all{};
    for (int lane = 0; lane < 32; ++lane) {
      if (!(lanes >> lane & 1u)) continue;
      all = some ? operation(all, of(lane)) : of(lane);
      some = true;
    }
    return all;
  }
};

[[noreturn]] void absent_lane(int lane, const std::source_location& at);

template <typename T>
T Met<T>::of(int lane) const {
  if (lane < 0 || lane > 31 || !(lanes >> lane & 1u)) absent_lane(lane, *at);
  T value;
  std::memcpy(static_cast<void*>(&value), word + lane, sizeof(T));
  return value;
}

// Waits for the lanes of `mask` that have not ended.
unsigned meet_warp(unsigned mask, const Word& word, const std::source_location& at);
const Word* met_words();

template <typename T>
Met<T> meet_warp(unsigned mask, const T& value, const std::source_location& at) {
  static_assert(sizeof(T) <= sizeof(Word));
  Word word{};
  std::memcpy(&word, &value, sizeof(T));
  const unsigned lanes = meet_warp(mask, word, at);
  return {lanes, met_words(), &at};
}

}  // namespace cuda_on_cpu
