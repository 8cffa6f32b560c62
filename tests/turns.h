// Blocks of a GPU kernel on the CPU: one after the other, their lanes by turns, in either order. Each lane has a stack.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

class Turns {
 public:
  Turns(int blocks, int lanes, bool reversed)
      : blocks_(blocks),
        lanes_(lanes),
        reversed_(reversed),
        stacks_(new char[blocks * lanes * kStack]),
        lane_(blocks * lanes) {}

  // body(block, lane) of all.
  void run(const std::function<void(int, int)>& body) {
    body_ = &body;
    self = this;
    for (int i = 0; i < blocks_ * lanes_; ++i) {
      lane_[i].state = kReady;
      getcontext(&lane_[i].context);
      lane_[i].context.uc_stack.ss_sp = stacks_.get() + i * kStack;
      lane_[i].context.uc_stack.ss_size = kStack;
      lane_[i].context.uc_link = &home_;
      makecontext(&lane_[i].context, reinterpret_cast<void (*)()>(&Turns::begin), 0);
    }
    for (int left = blocks_; left > 0;) {
      const int before = left;
      for (int turn = 0; turn < blocks_; ++turn) {
        const int block = reversed_ ? blocks_ - 1 - turn : turn;
        if (lane_[block * lanes_].state == kReady && run_block(block) == kDone) --left;
      }
      if (left != 0 && left != before) std::abort();  // a meeting that some blocks do not come to
      for (Lane& lane : lane_) {
        if (lane.state == kMeets) lane.state = kReady;
      }
    }
  }

  void barrier() { wait(kReady); }
  void meet() { wait(kMeets); }

 private:
  enum State { kReady, kMeets, kDone };
  struct Lane {
    ucontext_t context;
    State state;
  };

  // Up to where all its lanes have ended, or are where blocks meet.
  State run_block(int block) {
    for (;;) {
      int found[3] = {};
      for (int turn = 0; turn < lanes_; ++turn) {
        now_ = block * lanes_ + (reversed_ ? lanes_ - 1 - turn : turn);
        swapcontext(&home_, &lane_[now_].context);
        ++found[lane_[now_].state];
      }
      for (const State state : {kMeets, kDone}) {
        if (found[state] == lanes_) return state;
      }
      if (found[kReady] != lanes_) std::abort();  // a barrier that some lanes do not come to
    }
  }

  void wait(State state) {
    lane_[now_].state = state;
    swapcontext(&lane_[now_].context, &home_);
  }

  static constexpr size_t kStack = size_t{1} << 16;
  static Turns* self;
  static void begin() {
    const int i = self->now_;
    (*self->body_)(i / self->lanes_, i % self->lanes_);
    self->lane_[i].state = kDone;
  }

  int blocks_, lanes_, now_ = 0;
  bool reversed_;
  std::unique_ptr<char[]> stacks_;  // touched as far as they are used
  std::vector<Lane> lane_;
  const std::function<void(int, int)>* body_ = nullptr;
  ucontext_t home_;
};
inline Turns* Turns::self = nullptr;
