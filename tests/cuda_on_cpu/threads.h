// The threads of one block, which take turns.
#pragma once

#include <deque>
#include <source_location>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fiber.h"
#include "order.h"
#include "shared_memory.h"

namespace cuda_on_cpu {

enum class State { kReady, kAtBarrier, kInWarp, kAtGrid, kDone };

// What the lanes of a warp brought, for those that have not read it yet.
struct Brought {
  Word words[32];
  int readers;
};

struct Thread {
  Fiber fiber;
  bool begun = false;
  State state;
  uint3 index;
  std::source_location at;  // where it waits
  unsigned mask, met;
  Word word;
  Brought* brought = nullptr;
  bool vote;
};

std::string place(const std::source_location& at);
bool same(const std::source_location& a, const std::source_location& b);

class Threads {
 public:
  uint3 index;  // of the block
  SharedMemory shared;

  // `count` threads of a block that has done nothing.
  void begin(uint3 block, int count, void (*body)());
  // Turns of all until each has ended or waits for the grid. Returns what went wrong, or nothing.
  std::string run(Order& order);
  bool ended() const { return alive_ == 0; }
  bool all_alive() const { return alive_ == count_; }
  const Thread* waits_for_grid() const { return at_grid_ > 0 ? &at(first(State::kAtGrid)) : nullptr; }
  void leave_grid();
  // Who waits, and where.
  std::string waiting() const;
  // After a launch that failed.
  void forget();

  // ---- of the thread that runs
  int current() const { return current_; }
  int alive() const { return alive_; }
  int count() const { return count_; }
  [[noreturn]] void fail(const std::string& what);
  bool meet_block(bool vote, const std::source_location& at);
  unsigned meet_warp(unsigned mask, const Word& word, const std::source_location& at);
  void meet_grid(const std::source_location& at);
  const Word* met_words() { return self().brought->words; }
  void entered() { self().fiber.entered(); }
  void leave();

 private:
  Thread& self() { return at(current_); }
  Thread& at(int i) { return threads_[static_cast<std::size_t>(i)]; }
  const Thread& at(int i) const { return threads_[static_cast<std::size_t>(i)]; }
  int first(State state) const;
  void wait(State state);
  void release_block();
  bool release_warp(int i);
  void has_read(Thread& t);

  std::deque<Thread> threads_;
  std::deque<Brought> all_brought_;
  std::vector<Brought*> unused_;
  std::vector<int> turns_;
  int count_ = 0, current_ = 0, alive_ = 0, at_barrier_ = 0, at_grid_ = 0;
  bool vote_ = false;
  std::string error_;
};

// The threads of the block that runs now.
Threads& running();

}  // namespace cuda_on_cpu
