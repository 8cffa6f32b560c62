// Rows of z (N, D) divided by their norms, as F.normalize does, and the way of a gradient back through that.
#pragma once

#include <cstdint>

#include "sslfast/launch.h"

namespace sslfast {

constexpr double kLeastNorm = 1e-12;  // F.normalize's eps: below it the divisor is constant

// Bits of a bfloat16 or of a float16, told apart by their type.
struct Brain16 {
  uint16_t bits;
};
struct Half16 {
  uint16_t bits;
};

// T, the type of accumulation, is double for double and float otherwise.
template <typename In, typename Out, typename T>
struct UnitRows {
  const In* z;  // (rows, width), rows apart by row_stride, within a row contiguous
  int64_t rows, width, row_stride;
  Out* unit;        // (rows, width), contiguous
  T* inverse_norm;  // (rows): 1 / max(norm, kLeastNorm)
};

// grad <- (grad - unit <grad, unit>) * inverse_norm, without the projection where the norm is below kLeastNorm.
template <typename Unit, typename T>
struct UnitRowsBackward {
  T* grad;           // (rows, width), contiguous; overwritten
  const Unit* unit;  // as above
  const T* inverse_norm;
  int64_t rows, width;
};

// The same, rounded to the type of z, from z itself and out of place.
template <typename In, typename T>
struct UnitRowsGradient {
  const T* grad;  // (rows, width), contiguous
  const In* z;    // as in UnitRows
  int64_t rows, width, row_stride;
  const T* inverse_norm;
  In* result;  // (rows, width), contiguous
};

namespace cpu {

// wide (rows, width) <- z, times the factor of its row where factors are not null.
void widen_rows(const Brain16* z, const float* factors, int64_t rows, int64_t width, float* wide, int threads);

// Instantiated for float, Brain16 and Half16 with float sums, and for double.
template <typename In, typename Out, typename T>
void unit_rows(const UnitRows<In, Out, T>& p, int threads);
template <typename Unit, typename T>
void unit_rows_backward(const UnitRowsBackward<Unit, T>& p, int threads);
template <typename In, typename T>
void unit_rows_gradient(const UnitRowsGradient<In, T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
