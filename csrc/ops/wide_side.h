// What operators that make a loss and its gradients in one call take: sides of any type and strides, and numbers that
// are tensors or known. A tensor that nobody wants would cost a microsecond.
#pragma once

#include <algorithm>
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

// Threads for the epilogues of so many logits: one that has fewer to pass over costs more than it saves.
inline int team_of(int64_t logits, int threads) {
  constexpr int64_t kLogitsPerThread = int64_t{1} << 15;
  return static_cast<int>(std::clamp<int64_t>(logits / kLogitsPerThread, 1, threads));
}

// Whether z is contiguous and of type T.
template <typename T>
bool is_ready(const Tensor& z) {
  return z.scalar_type() == kType<T> && (z.stride(1) == 1 || z.size(1) == 1) &&
         (z.stride(0) == z.size(1) || z.size(0) == 1);
}

// to (N, D), contiguous, <- z, divided by its norms where inverse_norm is not null.
template <typename T>
void widen_to(const Tensor& z, T* to, T* inverse_norm, int threads) {
  const int64_t n = z.size(0), d = z.size(1);
  const bool widens = inverse_norm == nullptr || !is_ready<T>(z);
  if (widens) {
    cpu::wide_rows(z.const_data_ptr(), read_dtype(z.scalar_type()), n, d, z.stride(0), z.stride(1), to, threads);
  }
  if (inverse_norm != nullptr) {
    cpu::unit_rows(UnitRows<T, T, T>{widens ? to : z.const_data_ptr<T>(), n, d, d, to, inverse_norm}, threads);
  }
}

// z as the products take it: contiguous, of type T, and divided by its norms where inverse_norm is not null.
template <typename T>
Tensor wide_side(const Tensor& z, T* inverse_norm, int threads) {
  if (inverse_norm == nullptr && is_ready<T>(z)) return z;
  Tensor wide = empty_in_large_pages<T>({z.size(0), z.size(1)}, z);
  widen_to(z, wide.mutable_data_ptr<T>(), inverse_norm, threads);
  return wide;
}

}  // namespace sslfast::ops
