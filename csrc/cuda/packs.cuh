// Several neighbouring elements as one load or store, and the arithmetic on them: in float, in double for double.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "sslfast/dtype.h"

namespace sslfast::cuda {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T at[kSize];
};

template <typename T>
using Wide = std::conditional_t<std::is_same<T, double>::value, double, float>;

template <typename T, int kSize>
__device__ void add_pack(Wide<T> (&sums)[kSize], const T* from) {
  const auto pack = *reinterpret_cast<const Pack<T, kSize>*>(from);
#pragma unroll
  for (int k = 0; k < kSize; ++k) sums[k] += static_cast<Wide<T>>(pack.at[k]);
}

template <typename T, int kSize>
__device__ void store_pack(T* to, const Wide<T> (&values)[kSize]) {
  Pack<T, kSize> pack;
#pragma unroll
  for (int k = 0; k < kSize; ++k) pack.at[k] = static_cast<T>(values[k]);
  *reinterpret_cast<Pack<T, kSize>*>(to) = pack;
}

// Elements of one 16-byte load; 1 where something is not aligned to it.
template <typename T>
constexpr int kFullPack = 16 / sizeof(T);

inline bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

// Calls function with a value of the type that `dtype` names.
template <typename Function>
void by_dtype(Dtype dtype, Function function) {
  switch (dtype) {
    case Dtype::kFloat32:
      return function(float{});
    case Dtype::kFloat64:
      return function(double{});
    case Dtype::kBfloat16:
      return function(__nv_bfloat16{});
    case Dtype::kFloat16:
      return function(__half{});
  }
}

}  // namespace sslfast::cuda
