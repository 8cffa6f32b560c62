// Four rows of the table at a time: each element of the row, or of the sum, is read once for the four.
#include "listed_rows.h"

#include <algorithm>

#include "isa.h"

namespace sslfast::cpu {
namespace {

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T, typename In>
SSLFAST_INLINE T dot_body(const T* x, const In* y, int64_t width) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < width; ++d) sum += x[d] * widen(y[d]);
  return sum;
}

// out[k] = <x, y[at[k]]>
template <typename T, typename In>
SSLFAST_INLINE void dot_listed_body(const T* x, const In* y, int64_t stride, const int64_t* at, int64_t n,
                                    int64_t width, T* out) {
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    const In *y0 = y + at[k] * stride, *y1 = y + at[k + 1] * stride, *y2 = y + at[k + 2] * stride,
             *y3 = y + at[k + 3] * stride;
    T s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t d = 0; d < width; ++d) {
      s0 += x[d] * widen(y0[d]);
      s1 += x[d] * widen(y1[d]);
      s2 += x[d] * widen(y2[d]);
      s3 += x[d] * widen(y3[d]);
    }
    out[k] = s0;
    out[k + 1] = s1;
    out[k + 2] = s2;
    out[k + 3] = s3;
  }
  for (; k < n; ++k) out[k] = dot_body(x, y + at[k] * stride, width);
}

// out = sum_k g[k] y[at[k]]
template <typename T, typename In>
SSLFAST_INLINE void sum_listed_body(const T* g, const In* y, int64_t stride, const int64_t* at, int64_t n,
                                    int64_t width, T* out) {
  std::fill(out, out + width, T(0));
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    const In *y0 = y + at[k] * stride, *y1 = y + at[k + 1] * stride, *y2 = y + at[k + 2] * stride,
             *y3 = y + at[k + 3] * stride;
    const T g0 = g[k], g1 = g[k + 1], g2 = g[k + 2], g3 = g[k + 3];
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) {
      out[d] += (g0 * widen(y0[d]) + g1 * widen(y1[d])) + (g2 * widen(y2[d]) + g3 * widen(y3[d]));
    }
  }
  for (; k < n; ++k) {
    const In* y0 = y + at[k] * stride;
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) out[d] += g[k] * widen(y0[d]);
  }
}

template <typename T, typename In>
SSLFAST_INLINE T widen_body(const In* x, int64_t width, T* out) {
  T square = 0;
#pragma omp simd reduction(+ : square)
  for (int64_t d = 0; d < width; ++d) {
    out[d] = widen(x[d]);
    square += out[d] * out[d];
  }
  return square;
}

}  // namespace

// What is compiled per instruction set has no templates.
#define SSLFAST_TABLE(T, In)                                                                                    \
  SSLFAST_ISA_CLONES void dot_listed(const T* x, const In* table, int64_t stride, const int64_t* at, int64_t n, \
                                     int64_t width, T* out) {                                                   \
    dot_listed_body(x, table, stride, at, n, width, out);                                                       \
  }                                                                                                             \
  SSLFAST_ISA_CLONES void sum_listed(const T* g, const In* table, int64_t stride, const int64_t* at, int64_t n, \
                                     int64_t width, T* out) {                                                   \
    sum_listed_body(g, table, stride, at, n, width, out);                                                       \
  }                                                                                                             \
  SSLFAST_ISA_CLONES T widen_row(const In* x, int64_t width, T* out) { return widen_body(x, width, out); }
SSLFAST_TABLE(float, float)
SSLFAST_TABLE(float, Brain16)
SSLFAST_TABLE(float, Half16)
SSLFAST_TABLE(double, double)
#undef SSLFAST_TABLE

SSLFAST_ISA_CLONES float dot(const float* x, const float* y, int64_t width) { return dot_body(x, y, width); }
double dot(const double* x, const double* y, int64_t width) { return dot_body(x, y, width); }

}  // namespace sslfast::cpu
