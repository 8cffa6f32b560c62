// A row against rows of a table whose numbers are listed: in float, of double in double. Rows of the table lie `stride`
// elements apart, and each has `width`.
#pragma once

#include <cstdint>

#include "element_types.h"

namespace sslfast::cpu {

// <x, y>
float dot(const float* x, const float* y, int64_t width);
double dot(const double* x, const double* y, int64_t width);

// out[k] = <x, table[at[k]]>
void dot_listed(const float* x, const float* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void dot_listed(const float* x, const Brain16* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void dot_listed(const float* x, const Half16* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void dot_listed(const double* x, const double* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                double* out);

// out = sum_k g[k] table[at[k]]
void sum_listed(const float* g, const float* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void sum_listed(const float* g, const Brain16* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void sum_listed(const float* g, const Half16* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                float* out);
void sum_listed(const double* g, const double* table, int64_t stride, const int64_t* at, int64_t n, int64_t width,
                double* out);

// out = x; returns the sum of the squares.
float widen_row(const float* x, int64_t width, float* out);
float widen_row(const Brain16* x, int64_t width, float* out);
float widen_row(const Half16* x, int64_t width, float* out);
double widen_row(const double* x, int64_t width, double* out);

}  // namespace sslfast::cpu
