#include "row_arithmetic.h"

#include "isa.h"

namespace sslfast::cpu {

#define SSLFAST_ADD(In, Out)                                                        \
  SSLFAST_ISA_CLONES void add_row(const In* a, const Out* b, int64_t n, Out* out) { \
    for (int64_t d = 0; d < n; ++d) narrow(widen(a[d]) + widen(b[d]), out[d]);      \
  }
SSLFAST_ADD(float, float)
SSLFAST_ADD(double, double)
SSLFAST_ADD(Brain16, Brain16)
SSLFAST_ADD(Half16, Half16)
SSLFAST_ADD(Brain16, float)
SSLFAST_ADD(Half16, float)
#undef SSLFAST_ADD

#define SSLFAST_ACCUMULATE(In, Sum)                                             \
  SSLFAST_ISA_CLONES void accumulate_row(const In* row, int64_t n, Sum* sums) { \
    for (int64_t d = 0; d < n; ++d) sums[d] += widen(row[d]);                   \
  }
SSLFAST_ACCUMULATE(float, float)
SSLFAST_ACCUMULATE(double, double)
SSLFAST_ACCUMULATE(Brain16, float)
SSLFAST_ACCUMULATE(Half16, float)
SSLFAST_ACCUMULATE(float, double)
#undef SSLFAST_ACCUMULATE

#define SSLFAST_CONVERT(In, Out)                                            \
  SSLFAST_ISA_CLONES void convert_row(const In* row, int64_t n, Out* out) { \
    for (int64_t d = 0; d < n; ++d) narrow(widen(row[d]), out[d]);          \
  }
SSLFAST_CONVERT(Brain16, float)
SSLFAST_CONVERT(Half16, float)
SSLFAST_CONVERT(float, Brain16)
SSLFAST_CONVERT(float, Half16)
#undef SSLFAST_CONVERT

void convert_row(const double* row, int64_t n, float* out) {
  for (int64_t d = 0; d < n; ++d) out[d] = static_cast<float>(row[d]);
}

}  // namespace sslfast::cpu
