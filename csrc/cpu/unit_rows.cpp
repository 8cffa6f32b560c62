#include "sslfast/unit_rows.h"

#include <cmath>

#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename In, typename Out, typename T>
inline __attribute__((always_inline)) T unit_body(const In* z, int64_t n, Out* unit) {
  const T square = sum_of<T>(n, [&](int64_t d) { return widen(z[d]) * widen(z[d]); });
  const T norm = std::sqrt(square);
  const T factor = 1 / (norm < T(kLeastNorm) ? T(kLeastNorm) : norm);  // a NaN stays
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) narrow(widen(z[d]) * factor, unit[d]);
  return factor;
}

template <typename Unit, typename T>
inline __attribute__((always_inline)) void backward_body(T* grad, const Unit* unit, int64_t n, T factor) {
  T along = sum_of<T>(n, [&](int64_t d) { return grad[d] * widen(unit[d]); });
  if (!(factor < T(1 / kLeastNorm))) along = 0;
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) grad[d] = (grad[d] - along * widen(unit[d])) * factor;
}

template <typename In, typename T>
inline __attribute__((always_inline)) void gradient_body(const T* grad, const In* z, int64_t n, T factor, In* result) {
  T along = sum_of<T>(n, [&](int64_t d) { return grad[d] * (widen(z[d]) * factor); });
  if (!(factor < T(1 / kLeastNorm))) along = 0;
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) narrow((grad[d] - along * (widen(z[d]) * factor)) * factor, result[d]);
}

// One pair of functions for every pair of types: what is compiled per instruction set has no templates.
#define SSLFAST_TYPES(In, Out, T) \
  SSLFAST_ISA_CLONES T unit_row(const In* z, int64_t n, Out* unit) { return unit_body<In, Out, T>(z, n, unit); }
SSLFAST_TYPES(float, float, float)
SSLFAST_TYPES(Brain16, float, float)
SSLFAST_TYPES(Brain16, Brain16, float)
SSLFAST_TYPES(Half16, float, float)
#undef SSLFAST_TYPES
double unit_row(const double* z, int64_t n, double* unit) { return unit_body<double, double, double>(z, n, unit); }

SSLFAST_ISA_CLONES void backward_row(float* grad, const float* unit, int64_t n, float factor) {
  backward_body(grad, unit, n, factor);
}
SSLFAST_ISA_CLONES void backward_row(float* grad, const Brain16* unit, int64_t n, float factor) {
  backward_body(grad, unit, n, factor);
}
void backward_row(double* grad, const double* unit, int64_t n, double factor) { backward_body(grad, unit, n, factor); }

SSLFAST_ISA_CLONES void gradient_row(const float* grad, const float* z, int64_t n, float factor, float* result) {
  gradient_body(grad, z, n, factor, result);
}
SSLFAST_ISA_CLONES void gradient_row(const float* grad, const Brain16* z, int64_t n, float factor, Brain16* result) {
  gradient_body(grad, z, n, factor, result);
}
SSLFAST_ISA_CLONES void gradient_row(const float* grad, const Half16* z, int64_t n, float factor, Half16* result) {
  gradient_body(grad, z, n, factor, result);
}
void gradient_row(const double* grad, const double* z, int64_t n, double factor, double* result) {
  gradient_body(grad, z, n, factor, result);
}

SSLFAST_ISA_CLONES void wide_row(const Brain16* z, int64_t n, float factor, float* wide) {
  for (int64_t d = 0; d < n; ++d) wide[d] = widen(z[d]) * factor;
}

}  // namespace

void widen_rows(const Brain16* z, const float* factors, int64_t rows, int64_t width, float* wide, int threads) {
  threads = team(rows * width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < rows; ++i) wide_row(z + i * width, width, factors ? factors[i] : 1.0f, wide + i * width);
}

template <typename In, typename Out, typename T>
void unit_rows(const UnitRows<In, Out, T>& p, int threads) {
  threads = team(p.rows * p.width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    p.inverse_norm[i] = unit_row(p.z + i * p.row_stride, p.width, p.unit + i * p.width);
  }
}

template <typename Unit, typename T>
void unit_rows_backward(const UnitRowsBackward<Unit, T>& p, int threads) {
  threads = team(p.rows * p.width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    backward_row(p.grad + i * p.width, p.unit + i * p.width, p.width, p.inverse_norm[i]);
  }
}

template <typename In, typename T>
void unit_rows_gradient(const UnitRowsGradient<In, T>& p, int threads) {
  threads = team(p.rows * p.width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    gradient_row(p.grad + i * p.width, p.z + i * p.row_stride, p.width, p.inverse_norm[i], p.result + i * p.width);
  }
}

template void unit_rows(const UnitRows<float, float, float>&, int);
template void unit_rows(const UnitRows<double, double, double>&, int);
template void unit_rows(const UnitRows<Brain16, float, float>&, int);
template void unit_rows(const UnitRows<Brain16, Brain16, float>&, int);
template void unit_rows(const UnitRows<Half16, float, float>&, int);
template void unit_rows_backward(const UnitRowsBackward<float, float>&, int);
template void unit_rows_backward(const UnitRowsBackward<Brain16, float>&, int);
template void unit_rows_backward(const UnitRowsBackward<double, double>&, int);
template void unit_rows_gradient(const UnitRowsGradient<float, float>&, int);
template void unit_rows_gradient(const UnitRowsGradient<Brain16, float>&, int);
template void unit_rows_gradient(const UnitRowsGradient<Half16, float>&, int);
template void unit_rows_gradient(const UnitRowsGradient<double, double>&, int);

}  // namespace sslfast::cpu
