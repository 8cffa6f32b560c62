// What nvcc gives to every .cu file, as far as csrc uses it, for threads that block.h runs on the CPU.
#pragma once

#include <math.h>  // with overloads for float in the global namespace

#include <bit>
#include <cstdint>
#include <source_location>
#include <type_traits>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "block.h"
#include "cuda_runtime_api.h"

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

template <typename... Expected, typename... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), const Given&... given) {
  const auto call = [&] { kernel(given...); };
  cuda_on_cpu::Launch launch{"a kernel",
                             reinterpret_cast<const void*>(kernel),
                             config->gridDim,
                             config->blockDim,
                             config->dynamicSmemBytes,
                             [](const void* c) { (*static_cast<const decltype(call)*>(c))(); },
                             &call};
  for (unsigned i = 0; i < config->numAttrs; ++i) launch.cooperative |= config->attrs[i].val.cooperative != 0;
  return cuda_on_cpu::run(launch);
}

// ---- numbers and their bits

inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }

// ---- arithmetic. -ffp-contract=off makes it that of the functions with _rn.

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }  // of NaN, 0

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

// ---- memory

#ifdef __SANITIZE_ADDRESS__
// A GPU's memory ends at a multiple of 256 bytes: where a word begins in it that lies at a multiple of its size, all of
// the word is there, though the CPU's may have ended.
template <typename T>
[[gnu::no_sanitize_address]] T unwatched(const T* at) {
  return *at;
}
template <typename T>
T __ldg(const T* at) {
  const bool there = reinterpret_cast<uintptr_t>(at) % sizeof(T) == 0 && !__asan_address_is_poisoned(at);
  return there ? unwatched(at) : *at;
}
#else
template <typename T>
T __ldg(const T* at) {
  return *at;
}
#endif
template <typename T>
T atomicAdd(T* at, std::type_identity_t<T> value) {  // no other thread runs
  const T before = *at;
  *at = before + value;
  return before;
}
template <typename T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  const T before = *at;
  *at = before < value ? value : before;
  return before;
}

// ---- a block and its warps

using Site = std::source_location;

inline void __syncthreads(Site at = Site::current()) { cuda_on_cpu::meet_block(0, at); }
inline int __syncthreads_or(int predicate, Site at = Site::current()) {
  return cuda_on_cpu::meet_block(predicate != 0, at);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, Site at = Site::current()) { cuda_on_cpu::meet_warp(mask, 0, at); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, Site at = Site::current()) {
  return cuda_on_cpu::meet_warp(mask, value, at).of(lane & 31);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, Site at = Site::current()) {
  return cuda_on_cpu::meet_warp(mask, value, at).of(cuda_on_cpu::lane() ^ lanes);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, Site at = Site::current()) {
  const auto met = cuda_on_cpu::meet_warp(mask, value, at);
  const int lane = cuda_on_cpu::lane(), from = lane - static_cast<int>(distance);
  return met.of(from < 0 ? lane : from);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, Site at = Site::current()) {
  const auto met = cuda_on_cpu::meet_warp(mask, predicate, at);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (met.lanes >> lane & 1u) votes |= (met.of(lane) != 0 ? 1u : 0u) << lane;
  }
  return votes;
}
inline int __any_sync(unsigned mask, int predicate, Site at = Site::current()) {
  return __ballot_sync(mask, predicate, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, Site at = Site::current()) {
  return __ballot_sync(mask, !predicate, at) == 0;
}
inline int __reduce_add_sync(unsigned mask, int value, Site at = Site::current()) {
  return cuda_on_cpu::meet_warp(mask, value, at).fold([](int a, int b) { return a + b; });
}
inline int __reduce_min_sync(unsigned mask, int value, Site at = Site::current()) {
  return cuda_on_cpu::meet_warp(mask, value, at).fold([](int a, int b) { return a < b ? a : b; });
}
inline int __reduce_max_sync(unsigned mask, int value, Site at = Site::current()) {
  return cuda_on_cpu::meet_warp(mask, value, at).fold([](int a, int b) { return a < b ? b : a; });
}
