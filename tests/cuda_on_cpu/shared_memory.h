// The shared memory of a block: garbage until the block writes it, and guarded behind the end of every array.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace cuda_on_cpu {

constexpr std::size_t kSharedLimit = 48 << 10;  // of a block whose kernel may have no more
constexpr std::size_t kMostShared = 227 << 10;  // of any block

class SharedMemory {
 public:
  // The array that `key` stands for, made where there is none.
  void* array(const void* key, std::size_t bytes);
  void add(const void* key, std::size_t bytes) { find(key, bytes); }
  std::size_t bytes() const;
  // For the next block: as if nothing had been written.
  void begin();
  void clear() { arrays_.clear(); }
  // What is wrong where somebody wrote behind an array; else empty.
  std::string damage() const;

 private:
  struct Freed {
    void operator()(char* memory) const;
  };

  struct Array {
    const void* key;
    std::size_t bytes;
    std::unique_ptr<char, Freed> memory;
    bool filled = false;

    Array(const void* of, std::size_t size);
    bool guarded() const;
  };

  Array& find(const void* key, std::size_t bytes);

  std::vector<Array> arrays_;
};

}  // namespace cuda_on_cpu
