// A stack of its own for each thread of a block, and the switch between the thread and whoever resumed it.
#pragma once

#include <cstddef>

namespace cuda_on_cpu {

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  ~Fiber();

  // From now on resume() runs body(), which never returns, from its begin. What ran before is forgotten.
  void begin(void (*body)());
  void resume();
  // Back to whoever resumed this fiber, called by what runs in it.
  void suspend();
  // First thing in a body.
  void entered();

 private:
  char* memory_ = nullptr;
  void* stack_ = nullptr;    // where this fiber goes on
  void* resumer_ = nullptr;  // where its resumer does
  void *fake_ = nullptr, *resumer_fake_ = nullptr;
  const void* resumer_memory_ = nullptr;
  std::size_t resumer_bytes_ = 0;
};

}  // namespace cuda_on_cpu
