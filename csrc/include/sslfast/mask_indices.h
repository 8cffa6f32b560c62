#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// Where a mask (rows, length) is true; strides in elements, outputs contiguous. Reads 1 byte an element and writes 8.
struct MaskIndices {
  const bool* mask;
  int64_t rows, length, row_stride, stride;
  int64_t* indices;  // (rows * length): flat positions, ascending, then -1
  int64_t* counts;   // (rows)
};

namespace cpu {
void mask_indices(const MaskIndices& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t mask_indices(const MaskIndices& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
