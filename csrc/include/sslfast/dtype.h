// Floating-point types of operators that compute with what they move. Sums are in double for double, in float
// otherwise.
#pragma once

#include <cstdint>

namespace sslfast {

enum class Dtype : int32_t { kFloat32, kFloat64, kBfloat16, kFloat16 };

}  // namespace sslfast
