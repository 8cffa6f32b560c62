// torch's matrix product over memory of ours: the tiles of the similarity operators on the CPU. It goes through the C
// shim, not the dispatcher: no boxing, and scale and accumulation are part of the product.
#pragma once

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <type_traits>

#include "sslfast/huge_pages.h"
#include "tensor.h"

namespace sslfast::ops {

template <typename T>
constexpr ScalarType kType = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

// An uninitialised tensor that is about to be written, in large pages where it spans some.
template <typename T>
Tensor empty_in_large_pages(std::initializer_list<int64_t> sizes, const Tensor& like) {
  Tensor t = empty(sizes, kType<T>, like);
  cpu::advise_huge_pages(t.mutable_data_ptr(), t.numel() * static_cast<int64_t>(sizeof(T)));
  return t;
}

// A matrix over somebody else's memory.
template <typename T>
Tensor matrix(const T* data, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  const int64_t sizes[] = {rows, cols}, strides[] = {row_stride, col_stride};
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_create_tensor_from_blob(const_cast<T*>(data), 2, sizes, strides, 0,
                                                            static_cast<int32_t>(kType<T>),
                                                            aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

// `rows` contiguous rows of d numbers from row `row0` of x.
template <typename T>
Tensor slab(const T* x, int64_t row0, int64_t rows, int64_t d) {
  return matrix(x + row0 * d, rows, d, d, 1);
}

// The same, transposed.
template <typename T>
Tensor slab_transposed(const T* x, int64_t row0, int64_t rows, int64_t d) {
  return matrix(x + row0 * d, d, rows, 1, d);
}

// out = beta * out + alpha * a b
inline void product(const Tensor& out, const Tensor& a, const Tensor& b, double beta, double alpha) {
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(out.get(), out.get(), a.get(), b.get(), beta, alpha));
}

}  // namespace sslfast::ops
