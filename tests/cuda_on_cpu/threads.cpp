#include "threads.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

uint3 threadIdx, blockIdx;

namespace cuda_on_cpu {

std::string place(const std::source_location& at) {
  return std::string(at.file_name()) + ":" + std::to_string(at.line());
}

bool same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

void Threads::begin(uint3 block, int count, void (*body)()) {
  index = block;
  shared.begin();
  alive_ = count_ = count;
  while (threads_.size() < static_cast<std::size_t>(count)) threads_.emplace_back();
  turns_.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    Thread& t = at(i);
    t.state = State::kReady;
    const unsigned n = static_cast<unsigned>(i);
    t.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    if (!t.begun) t.fiber.begin(body);
    t.begun = true;
  }
}

std::string Threads::run(Order& order) {
  blockIdx = index;
  order.arrange(turns_);
  while (at_grid_ < alive_) {
    bool moved = false;
    for (const int i : turns_) {
      Thread& t = at(i);
      if (t.state != State::kReady) continue;
      moved = true;
      current_ = i;
      threadIdx = t.index;
      t.fiber.resume();
      if (!error_.empty()) return error_;
    }
    if (!moved) return waiting();
    if (order.kind == Order::kDrawn) order.arrange(turns_);
  }
  return ended() ? shared.damage() : "";
}

int Threads::first(State state) const {
  int i = 0;
  while (at(i).state != state) ++i;
  return i;
}

std::string Threads::waiting() const {
  std::string what;
  int told = 0;
  const std::source_location* before = nullptr;
  for (int i = 0; i < count_; ++i) {
    const Thread& t = at(i);
    if (t.state == State::kDone) continue;
    if (before && same(*before, t.at)) continue;
    if (++told > 6) break;
    before = &t.at;
    what += (told > 1 ? "; thread " : "thread ") + std::to_string(i) + " waits at " + place(t.at);
    what += t.state == State::kAtBarrier ? " for the block"
            : t.state == State::kAtGrid  ? " for the grid"
                                         : " for its warp";
  }
  return what + "; " + std::to_string(count_ - alive_) + " have ended";
}

void Threads::forget() {
  for (Thread& t : threads_) {
    t.begun = false;
    has_read(t);
  }
  shared.clear();
  at_barrier_ = at_grid_ = 0;
  vote_ = false;
  error_.clear();
}

void Threads::leave_grid() {
  for (int i = 0; i < count_; ++i) {
    if (at(i).state == State::kAtGrid) at(i).state = State::kReady;
  }
  at_grid_ = 0;
}

// Ends the launch.
void Threads::fail(const std::string& what) {
  error_ = what;
  self().fiber.suspend();
  std::abort();
}

void Threads::wait(State state) {
  Thread& me = self();
  me.state = state;
  me.fiber.suspend();
}

void Threads::release_block() {
  if (alive_ == 0 || at_barrier_ < alive_) return;
  for (int i = 0; i < count_; ++i) {
    Thread& t = at(i);
    if (t.state != State::kAtBarrier) continue;
    t.vote = vote_;
    t.state = State::kReady;
  }
  at_barrier_ = 0;
  vote_ = false;
}

// The group of lanes that thread i waits with goes on once it is complete.
bool Threads::release_warp(int i) {
  const int first = i / 32 * 32, lanes = std::min(32, count_ - first);
  const unsigned mask = at(i).mask;
  unsigned met = 0;
  for (int l = 0; l < lanes; ++l) {
    if (!(mask >> l & 1u) || at(first + l).state == State::kDone) continue;
    const Thread& t = at(first + l);
    if (t.state != State::kInWarp || t.mask != mask || !same(t.at, at(i).at)) return false;
    met |= 1u << l;
  }
  if (unused_.empty()) unused_.push_back(&all_brought_.emplace_back());
  Brought* const brought = unused_.back();
  unused_.pop_back();
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

void Threads::has_read(Thread& t) {
  if (t.brought && --t.brought->readers == 0) unused_.push_back(t.brought);
  t.brought = nullptr;
}

void Threads::leave() {
  has_read(self());
  self().state = State::kDone;
  --alive_;
  release_block();
  const int first = current_ / 32 * 32;
  for (int i = first; i < std::min(first + 32, count_); ++i) {
    if (at(i).state == State::kInWarp) release_warp(i);
  }
  self().fiber.suspend();
}

bool Threads::meet_block(bool vote, const std::source_location& where) {
  Thread& me = self();
  if (at_barrier_ > 0) {
    const int other = first(State::kAtBarrier);
    if (!same(at(other).at, where)) {
      fail("thread " + std::to_string(current_) + " is at the barrier of " + place(where) + ", thread " +
           std::to_string(other) + " at that of " + place(at(other).at));
    }
  }
  me.at = where;
  ++at_barrier_;
  vote_ = vote_ || vote;
  me.state = State::kAtBarrier;
  release_block();
  if (me.state != State::kReady) wait(State::kAtBarrier);
  return me.vote;
}

unsigned Threads::meet_warp(unsigned mask, const Word& word, const std::source_location& where) {
  Thread& me = self();
  const int lane = current_ % 32;
  if (!(mask >> lane & 1u)) fail("lane " + std::to_string(lane) + " is not in the mask of " + place(where));
  has_read(me);
  me.at = where;
  me.mask = mask;
  me.word = word;
  me.state = State::kInWarp;
  if (!release_warp(current_)) wait(State::kInWarp);
  return me.met;
}

void Threads::meet_grid(const std::source_location& where) {
  self().at = where;
  ++at_grid_;
  wait(State::kAtGrid);
}

// ---- called by threads

int thread() { return running().current(); }
int lane() { return running().current() % 32; }
unsigned char garbage_byte() { return 0xFF; }

void need_threads(int count, const std::source_location& at) {
  Threads& block = running();
  if (block.count() == count && block.alive() == count) return;
  block.fail(place(at) + " wants " + std::to_string(count) + " threads, of which " + std::to_string(block.alive()) +
             " run");
}

bool meet_block(bool vote, const std::source_location& at) { return running().meet_block(vote, at); }

unsigned meet_warp(unsigned mask, const Word& word, const std::source_location& at) {
  return running().meet_warp(mask, word, at);
}

const Word* met_words() { return running().met_words(); }

void absent_lane(int lane, const std::source_location& at) {
  running().fail(place(at) + " reads lane " + std::to_string(lane) + ", which is not there");
}

}  // namespace cuda_on_cpu
