// How to write an output that is larger than the caches, once. Stores that go past the caches save reading every line
// before it is overwritten: 154 MB took 9 ms instead of 21. But memory fresh from the kernel, unlike what an allocator
// kept, is zeroed by it first, in the cache: there such stores wait for the write-back, and took 45 ms instead of 29.
// So fresh memory is faulted in first, all of it, in 2 MiB pages: 26 ms; 4 KiB pages and ordinary stores took 67. And
// where the output is zero, the kernel has written that already: 19 ms with three quarters zero.
#pragma once

#include <cstdint>
#include <cstring>

#include "sslfast/huge_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sslfast::cpu {

// What prepare_large_output found, and did.
struct LargeOutput {
  bool streamed = false;    // stream() pays
  intptr_t zero_begin = 0;  // addresses from here
  intptr_t zero_end = 0;    // up to here read as zero
  bool is_zero(const void* data, int64_t bytes) const {
    const auto first = reinterpret_cast<intptr_t>(data);
    return zero_begin <= first && first + bytes <= zero_end;
  }
};

// Makes the memory of `bytes` about to be written at `data` ready; its content is lost.
inline LargeOutput prepare_large_output([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
  LargeOutput found;
#if defined(__linux__) && defined(__x86_64__)
  constexpr int64_t kLarge = 4 << 20, kPage = 4096, kSamples = 16;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE; Linux before 5.14 refuses it
  if (bytes < kLarge) return found;
  const intptr_t begin = (reinterpret_cast<intptr_t>(data) + kPage - 1) / kPage * kPage;
  const intptr_t end = (reinterpret_cast<intptr_t>(data) + bytes) / kPage * kPage;
  const auto at = [](intptr_t address) { return reinterpret_cast<void*>(address); };
  bool fresh = false;
  for (int64_t i = 0; i < kSamples && !fresh; ++i) {
    unsigned char resident = 1;
    mincore(at((begin + (end - begin) / kSamples * i) / kPage * kPage), kPage, &resident);
    fresh = !(resident & 1);
  }
  found.streamed = __builtin_cpu_supports("avx512f");
  if (!fresh) return found;
  // Discarded pages read as zero, if the memory is private and anonymous: a byte is set first, and seen to vanish.
  auto* probe = static_cast<volatile char*>(at(begin));
  *probe = 1;
  if (madvise(at(begin), end - begin, MADV_DONTNEED) == 0 && *probe == 0) {
    found.zero_begin = begin;
    found.zero_end = end;
  }
  advise_huge_pages(data, bytes);
  found.streamed = found.streamed && madvise(at(begin), end - begin, kPopulateWrite) == 0;
#endif
  return found;
}

#if defined(__x86_64__)
// memcpy, or memset to zero where `from` is null, past the caches. stream_fence() follows before anybody reads.
__attribute__((target("avx512f"))) inline void stream(void* out, const void* from, int64_t bytes) {
  auto* to = static_cast<char*>(out);
  const auto* source = static_cast<const char*>(from);
  const auto plain = [&](int64_t n) {
    if (source) {
      std::memcpy(to, source, n);
      source += n;
    } else {
      std::memset(to, 0, n);
    }
    to += n;
    bytes -= n;
  };
  const int64_t head = -reinterpret_cast<intptr_t>(to) & 63;
  plain(head < bytes ? head : bytes);
  for (; bytes >= 64; bytes -= 64, to += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), source ? _mm512_loadu_si512(source) : _mm512_setzero_si512());
    if (source) source += 64;
  }
  plain(bytes);
}

inline void stream_fence() { _mm_sfence(); }
#else
inline void stream(void* out, const void* from, int64_t bytes) {
  from ? static_cast<void>(std::memcpy(out, from, bytes)) : static_cast<void>(std::memset(out, 0, bytes));
}

inline void stream_fence() {}
#endif

}  // namespace sslfast::cpu
