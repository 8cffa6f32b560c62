// Arithmetic over one contiguous row, for every pair of types that tokens and sums come in.
#pragma once

#include <cstring>

#include "element_types.h"

namespace sslfast::cpu {

// out = a + b, rounded once.
void add_row(const float* a, const float* b, int64_t n, float* out);
void add_row(const double* a, const double* b, int64_t n, double* out);
void add_row(const Brain16* a, const Brain16* b, int64_t n, Brain16* out);
void add_row(const Half16* a, const Half16* b, int64_t n, Half16* out);
void add_row(const Brain16* a, const float* b, int64_t n, float* out);
void add_row(const Half16* a, const float* b, int64_t n, float* out);

// sums += row.
void accumulate_row(const float* row, int64_t n, float* sums);
void accumulate_row(const double* row, int64_t n, double* sums);
void accumulate_row(const Brain16* row, int64_t n, float* sums);
void accumulate_row(const Half16* row, int64_t n, float* sums);
void accumulate_row(const float* row, int64_t n, double* sums);

// out = row, in another type.
void convert_row(const double* row, int64_t n, float* out);
void convert_row(const Brain16* row, int64_t n, float* out);
void convert_row(const Half16* row, int64_t n, float* out);
void convert_row(const float* row, int64_t n, Brain16* out);
void convert_row(const float* row, int64_t n, Half16* out);
template <typename Element>
void convert_row(const Element* row, int64_t n, Element* out) {
  std::memcpy(out, row, n * sizeof(Element));
}

}  // namespace sslfast::cpu
