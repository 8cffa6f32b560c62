// Floating-point types between torch and the kernels.
#pragma once

#include "sslfast/dtype.h"
#include "tensor.h"

namespace sslfast::ops {

inline Dtype read_dtype(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return Dtype::kFloat32;
    case ScalarType::Double:
      return Dtype::kFloat64;
    case ScalarType::BFloat16:
      return Dtype::kBfloat16;
    default:
      check(type == ScalarType::Half, "sslfast: expected float32, float64, bfloat16 or float16");
      return Dtype::kFloat16;
  }
}

// The type of sums.
inline ScalarType wide(ScalarType type) { return type == ScalarType::Double ? type : ScalarType::Float; }

// Where a kernel writes, or null for what is not wanted.
template <typename T = void>
T* data_if(bool wanted, const Tensor& t) {
  return wanted ? static_cast<T*>(t.mutable_data_ptr()) : nullptr;
}

}  // namespace sslfast::ops
