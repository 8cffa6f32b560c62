#include "shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "block.h"

namespace cuda_on_cpu {

namespace {
constexpr std::size_t kGuard = 64;  // bytes behind an array that nobody may write
}

void SharedMemory::Freed::operator()(char* memory) const { std::free(memory); }

SharedMemory::Array::Array(const void* of, std::size_t size) : key(of), bytes(size) {
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

bool SharedMemory::Array::guarded() const {
#ifdef __SANITIZE_ADDRESS__
  return true;
#else
  const auto* guard = reinterpret_cast<const unsigned char*>(memory.get()) + bytes;
  return std::all_of(guard, guard + kGuard, [](unsigned char byte) { return byte == 0xA5; });
#endif
}

SharedMemory::Array& SharedMemory::find(const void* key, std::size_t bytes) {
  const auto found = std::find_if(arrays_.begin(), arrays_.end(), [&](const Array& a) { return a.key == key; });
  return found != arrays_.end() ? *found : arrays_.emplace_back(key, bytes);
}

void* SharedMemory::array(const void* key, std::size_t bytes) {
  Array& one = find(key, bytes);
  if (!one.filled) std::memset(one.memory.get(), garbage_byte(), one.bytes);
  one.filled = true;
  return one.memory.get();
}

std::size_t SharedMemory::bytes() const {
  std::size_t all = 0;
  for (const Array& a : arrays_) all += a.bytes;
  return all;
}

void SharedMemory::begin() {
  for (Array& a : arrays_) a.filled = false;
}

std::string SharedMemory::damage() const {
  for (const Array& a : arrays_) {
    if (!a.guarded()) return "memory behind a shared array of " + std::to_string(a.bytes) + " bytes was written";
  }
  return "";
}

}  // namespace cuda_on_cpu
