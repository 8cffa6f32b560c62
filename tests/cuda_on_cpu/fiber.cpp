#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "cuda_on_cpu: the switch between stacks is written for x86-64"
#endif

// Leaves the registers that a call keeps on this stack, *from, and goes on where the stack `to` was left.
extern "C" void cuda_on_cpu_switch(void** from, void* to);
asm(R"(
.text
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace cuda_on_cpu {

namespace {
constexpr std::size_t kPage = 4096, kStack = 256 << 10;  // behind a page that nobody may touch
}

Fiber::~Fiber() {
  if (memory_) munmap(memory_, kPage + kStack);
}

void Fiber::begin(void (*body)()) {
  if (!memory_) {
    void* const memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    mprotect(memory_, kPage, PROT_NONE);
  }
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory_ + kPage, kStack);
#endif
  void** top = reinterpret_cast<void**>(memory_ + kPage + kStack);
  *--top = nullptr;  // where body() would return to
  *--top = reinterpret_cast<void*>(body);
  for (int k = 0; k < 6; ++k) *--top = nullptr;
  stack_ = top;
}

void Fiber::resume() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&resumer_fake_, memory_ + kPage, kStack);
#endif
  cuda_on_cpu_switch(&resumer_, stack_);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(resumer_fake_, nullptr, nullptr);
#endif
}

void Fiber::entered() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &resumer_memory_, &resumer_bytes_);
#endif
}

void Fiber::suspend() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&fake_, resumer_memory_, resumer_bytes_);
#endif
  cuda_on_cpu_switch(&stack_, resumer_);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_, &resumer_memory_, &resumer_bytes_);
#endif
}

}  // namespace cuda_on_cpu
