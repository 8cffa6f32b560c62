// Elements of images and views in a GPU's memory, by types that are known when a kernel runs. Images are read through
// the read-only cache: no kernel writes them. Views that wait are written by the kernel that reads them, and are not.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "shared/image_augment_reads.h"

namespace sslfast::cuda {

struct Memory {
  // Pixel i. uint8, the usual type, is known at compile time.
  template <bool kBytes>
  static __device__ __forceinline__ float load(const void* pixels, Pixels type, int64_t i) {
    if (kBytes) return static_cast<float>(__ldg(static_cast<const uint8_t*>(pixels) + i));
    if (type == Pixels::kFloat) return __ldg(static_cast<const float*>(pixels) + i);
    return widen(type, __ldg(static_cast<const uint16_t*>(pixels) + i));
  }

  static __device__ __forceinline__ uint32_t word(const uint32_t* at) { return __ldg(at); }

  static __device__ __forceinline__ augment::Sixteen sixteen(const augment::Sixteen* at) {
    const uint4 block = __ldg(reinterpret_cast<const uint4*>(at));
    return {{block.x, block.y, block.z, block.w}};
  }

  // An element of two or four bytes from its bits.
  static __device__ __forceinline__ float widen(Pixels type, uint32_t bits) {
    if (type == Pixels::kFloat) return __uint_as_float(bits);
    if (type == Pixels::kBFloat16) return __uint_as_float(bits << 16);
    return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
  }

  static __device__ __forceinline__ void store(void* out, Pixels type, int64_t i, float x) {
    if (type == Pixels::kFloat) {
      static_cast<float*>(out)[i] = x;
    } else if (type == Pixels::kBFloat16) {
      static_cast<__nv_bfloat16*>(out)[i] = __float2bfloat16_rn(x);
    } else if (type == Pixels::kHalf) {
      static_cast<__half*>(out)[i] = __float2half_rn(x);
    } else {
      static_cast<uint8_t*>(out)[i] = to_uint8(x);
    }
  }

  // Of floats that wait.
  static __device__ __forceinline__ void four(const float* at, float* x) {
    const float4 all = *reinterpret_cast<const float4*>(at);
    x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
  }

  static __device__ __forceinline__ void put_four(float* at, const float* x) {
    *reinterpret_cast<float4*>(at) = make_float4(x[0], x[1], x[2], x[3]);
  }

  // Two elements in one store, and four.
  static __device__ __forceinline__ void store_two(void* out, Pixels type, int64_t i, const float* x) {
    void* at = static_cast<char*>(out) + i * pixel_bytes(type);
    if (type == Pixels::kFloat) {
      *static_cast<float2*>(at) = make_float2(x[0], x[1]);
    } else if (type == Pixels::kBFloat16) {
      *static_cast<uint32_t*>(at) = pair(__float2bfloat16_rn(x[0]), __float2bfloat16_rn(x[1]));
    } else if (type == Pixels::kHalf) {
      *static_cast<uint32_t*>(at) = pair(__float2half_rn(x[0]), __float2half_rn(x[1]));
    } else {
      *static_cast<uint16_t*>(at) = static_cast<uint16_t>(to_uint8(x[0]) | to_uint8(x[1]) << 8);
    }
  }

  static __device__ __forceinline__ void store_four(void* out, Pixels type, int64_t i, const float* x) {
    void* at = static_cast<char*>(out) + i * pixel_bytes(type);
    if (type == Pixels::kFloat) {
      *static_cast<float4*>(at) = make_float4(x[0], x[1], x[2], x[3]);
    } else if (type == Pixels::kBFloat16) {
      *static_cast<uint2*>(at) = make_uint2(pair(__float2bfloat16_rn(x[0]), __float2bfloat16_rn(x[1])),
                                            pair(__float2bfloat16_rn(x[2]), __float2bfloat16_rn(x[3])));
    } else if (type == Pixels::kHalf) {
      *static_cast<uint2*>(at) = make_uint2(pair(__float2half_rn(x[0]), __float2half_rn(x[1])),
                                            pair(__float2half_rn(x[2]), __float2half_rn(x[3])));
    } else {
      *static_cast<uchar4*>(at) = make_uchar4(to_uint8(x[0]), to_uint8(x[1]), to_uint8(x[2]), to_uint8(x[3]));
    }
  }

 private:
  static __device__ __forceinline__ uint8_t to_uint8(float x) {
    return static_cast<uint8_t>(static_cast<int32_t>(x + 0.5f));
  }
  static __device__ __forceinline__ uint32_t pair(__nv_bfloat16 low, __nv_bfloat16 high) {
    return __bfloat16_as_ushort(low) | uint32_t{__bfloat16_as_ushort(high)} << 16;
  }
  static __device__ __forceinline__ uint32_t pair(__half low, __half high) {
    return __half_as_ushort(low) | uint32_t{__half_as_ushort(high)} << 16;
  }
};

}  // namespace sslfast::cuda
