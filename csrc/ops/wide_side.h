// What operators that make a loss and its gradients in one call take: sides of any type and strides, and numbers that
// are tensors or known. A tensor that nobody wants would cost a microsecond.
#pragma once

#include <optional>
#include <vector>

#include "dtype.h"
#include "matrix.h"
#include "sslfast/few_pairs.h"
#include "sslfast/unit_rows.h"

namespace sslfast::ops {

// A loss, and of its gradients those that are needed.
using Results = std::vector<Tensor>;

// One number of a floating-point tensor, or the one that is known.
inline double number(const std::optional<Tensor>& t, double known) {
  if (!t) return known;
  check(t->is_cpu() && t->numel() == 1, "sslfast: scale and bias must be one number each, on the CPU");
  double value;
  cpu::wide_rows(t->const_data_ptr(), read_dtype(t->scalar_type()), 1, 1, 1, 1, &value, 1);
  return value;
}

template <typename T>
Tensor scalar(double value, const Tensor& like) {
  Tensor result = empty({}, kType<T>, like);
  *result.mutable_data_ptr<T>() = static_cast<T>(value);
  return result;
}

// z as the products take it: contiguous, of type T, and divided by its norms where inverse_norm is not null.
template <typename T>
Tensor wide_side(const Tensor& z, T* inverse_norm, int threads) {
  const int64_t n = z.size(0), d = z.size(1), row_stride = z.stride(0), col_stride = z.stride(1);
  const bool ready = z.scalar_type() == kType<T> && (col_stride == 1 || d == 1) && (row_stride == d || n == 1);
  if (ready && inverse_norm == nullptr) return z;
  Tensor wide = empty_in_large_pages<T>({n, d}, z);
  T* to = wide.mutable_data_ptr<T>();
  if (!ready) {
    cpu::wide_rows(z.const_data_ptr(), read_dtype(z.scalar_type()), n, d, row_stride, col_stride, to, threads);
  }
  if (inverse_norm != nullptr) {
    cpu::unit_rows(UnitRows<T, T, T>{ready ? z.const_data_ptr<T>() : to, n, d, d, to, inverse_norm}, threads);
  }
  return wide;
}

}  // namespace sslfast::ops
