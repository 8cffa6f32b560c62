// Rows of any floating-point type as unit rows in the type of sums, and a gradient back through that.
#pragma once

#include "sslfast/unit_rows.h"
#include "tensor.h"

namespace sslfast::ops {

template <typename In, typename T>
void unit_rows_of(const Tensor& z, T* unit, T* inverse_norm, int threads) {
  cpu::unit_rows(UnitRows<In, T, T>{static_cast<const In*>(z.const_data_ptr()), z.size(0), z.size(1), z.stride(0), unit,
                                    inverse_norm},
                 threads);
}

// unit (N, D) and inverse_norm (N) <- those of z, which is double where T is.
template <typename T>
void normalise(const Tensor& z, T* unit, T* inverse_norm, int threads) {
  if constexpr (std::is_same_v<T, double>) {
    unit_rows_of<double>(z, unit, inverse_norm, threads);
  } else if (z.scalar_type() == ScalarType::Float) {
    unit_rows_of<float>(z, unit, inverse_norm, threads);
  } else if (z.scalar_type() == ScalarType::BFloat16) {
    unit_rows_of<Brain16>(z, unit, inverse_norm, threads);
  } else {
    unit_rows_of<Half16>(z, unit, inverse_norm, threads);
  }
}

}  // namespace sslfast::ops
