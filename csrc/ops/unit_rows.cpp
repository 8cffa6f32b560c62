// F.normalize over the rows of a matrix, and its gradient: two passes over a row each, while it is in L1. The GPU
// implementation is kernels/unit_rows.py.
#include "sslfast/unit_rows.h"

#include <tuple>

#include "sslfast/huge_pages.h"
#include "tensor.h"

namespace sslfast::ops {
namespace {

template <typename Number>
Number* numbers(const Tensor& t) {
  return static_cast<Number*>(t.mutable_data_ptr());
}

template <typename In, typename Out, typename T>
std::tuple<Tensor, Tensor> run(const Tensor& z, ScalarType dtype, ScalarType wide) {
  const int64_t n = z.size(0), d = z.size(1);
  Tensor unit = empty({n, d}, dtype, z), inverse_norm = empty({n, 1}, wide, z);
  cpu::advise_huge_pages(unit.mutable_data_ptr(), n * d * static_cast<int64_t>(sizeof(Out)));
  launch(cpu::unit_rows<In, Out, T>,
         UnitRows<In, Out, T>{static_cast<const In*>(z.const_data_ptr()), n, d, z.stride(0), numbers<Out>(unit),
                              numbers<T>(inverse_norm)},
         z);
  return {unit, inverse_norm};
}

std::tuple<Tensor, Tensor> unit_rows(const Tensor& z, ScalarType dtype) {
  check(z.is_cpu() && z.dim() == 2 && (z.stride(1) == 1 || z.size(1) <= 1),
        "unit_rows: z must be (N, D), its rows contiguous");
  const ScalarType in = z.scalar_type();
  if (in == ScalarType::Float && dtype == in) return run<float, float, float>(z, dtype, dtype);
  if (in == ScalarType::Double && dtype == in) return run<double, double, double>(z, dtype, dtype);
  if (in == ScalarType::Half && dtype == ScalarType::Float) return run<Half16, float, float>(z, dtype, dtype);
  if (in == ScalarType::BFloat16 && dtype == ScalarType::Float) return run<Brain16, float, float>(z, dtype, dtype);
  check(in == ScalarType::BFloat16 && dtype == in,
        "unit_rows: dtype must be that of z, or float32 for z in half types");
  return run<Brain16, Brain16, float>(z, dtype, ScalarType::Float);
}

template <typename Unit, typename T>
void run_backward(const Tensor& grad, const Tensor& unit, const Tensor& inverse_norm) {
  launch(cpu::unit_rows_backward<Unit, T>,
         UnitRowsBackward<Unit, T>{numbers<T>(grad), static_cast<const Unit*>(unit.const_data_ptr()),
                                   static_cast<const T*>(inverse_norm.const_data_ptr()), unit.size(0), unit.size(1)},
         grad);
}

void unit_rows_backward_(const Tensor& grad, const Tensor& unit, const Tensor& inverse_norm) {
  check(unit.dim() == 2 && grad.dim() == 2 && grad.size(0) == unit.size(0) && grad.size(1) == unit.size(1) &&
            inverse_norm.numel() == unit.size(0),
        "unit_rows_backward_: grad must have the shape of unit, inverse_norm one number a row");
  for (const Tensor* t : {&grad, &unit, &inverse_norm}) {
    check(t->is_cpu() && t->is_contiguous(), "unit_rows_backward_: tensors must be contiguous");
  }
  const ScalarType wide = grad.scalar_type(), of_unit = unit.scalar_type();
  check(inverse_norm.scalar_type() == wide, "unit_rows_backward_: inverse_norm must have the dtype of grad");
  if (wide == ScalarType::Float && of_unit == wide) return run_backward<float, float>(grad, unit, inverse_norm);
  if (wide == ScalarType::Double && of_unit == wide) return run_backward<double, double>(grad, unit, inverse_norm);
  check(wide == ScalarType::Float && of_unit == ScalarType::BFloat16,
        "unit_rows_backward_: unit must have the dtype of grad, or be bfloat16");
  run_backward<Brain16, float>(grad, unit, inverse_norm);
}

template <typename In, typename T>
Tensor run_gradient(const Tensor& grad, const Tensor& z, const Tensor& inverse_norm) {
  const int64_t n = z.size(0), d = z.size(1);
  Tensor result = empty({n, d}, z.scalar_type(), z);
  cpu::advise_huge_pages(result.mutable_data_ptr(), n * d * static_cast<int64_t>(sizeof(In)));
  launch(cpu::unit_rows_gradient<In, T>,
         UnitRowsGradient<In, T>{static_cast<const T*>(grad.const_data_ptr()),
                                 static_cast<const In*>(z.const_data_ptr()), n, d, z.stride(0),
                                 static_cast<const T*>(inverse_norm.const_data_ptr()), numbers<In>(result)},
         z);
  return result;
}

Tensor unit_rows_gradient(const Tensor& grad, const Tensor& z, const Tensor& inverse_norm) {
  check(z.is_cpu() && z.dim() == 2 && (z.stride(1) == 1 || z.size(1) <= 1),
        "unit_rows_gradient: z must be (N, D), its rows contiguous");
  check(grad.dim() == 2 && grad.size(0) == z.size(0) && grad.size(1) == z.size(1) && inverse_norm.numel() == z.size(0),
        "unit_rows_gradient: grad must have the shape of z, inverse_norm one number a row");
  const ScalarType in = z.scalar_type(), wide = in == ScalarType::Double ? in : ScalarType::Float;
  for (const Tensor* t : {&grad, &inverse_norm}) {
    check(t->is_cpu() && t->is_contiguous() && t->scalar_type() == wide,
          "unit_rows_gradient: grad and inverse_norm must be contiguous, float64 for float64 z, else float32");
  }
  if (in == ScalarType::Double) return run_gradient<double, double>(grad, z, inverse_norm);
  if (in == ScalarType::Half) return run_gradient<Half16, float>(grad, z, inverse_norm);
  if (in == ScalarType::BFloat16) return run_gradient<Brain16, float>(grad, z, inverse_norm);
  check(in == ScalarType::Float, "unit_rows_gradient: z must be floating point");
  return run_gradient<float, float>(grad, z, inverse_norm);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("unit_rows", TORCH_BOX(&unit_rows));
  m.impl("unit_rows_backward_", TORCH_BOX(&unit_rows_backward_));
  m.impl("unit_rows_gradient", TORCH_BOX(&unit_rows_gradient));
}

}  // namespace sslfast::ops
