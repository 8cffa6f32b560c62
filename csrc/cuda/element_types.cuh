// The types of elements that the CPU has too, and how a GPU reads them.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "sslfast/unit_rows.h"  // Brain16, Half16

namespace sslfast::cuda {

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(Brain16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
__device__ inline float widen(Half16 x) { return __half2float(__ushort_as_half(x.bits)); }

}  // namespace sslfast::cuda
