// What the functions for CPUs that multiply pairs of bf16 share.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

#define SSLFAST_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace sslfast::cpu {

// The first `count` of 16 lanes, none where it is negative.
SSLFAST_BF16 inline __attribute__((always_inline)) __mmask16 lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

}  // namespace sslfast::cpu

#endif
