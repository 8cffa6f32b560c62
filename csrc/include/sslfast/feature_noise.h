#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// out[r, j] = x[r, j] + scale * factors[j] * noise, over (rows, features): standard normal, or uniform in (-1, 1);
// where the word drawn is not below the threshold, x itself. Word j % 4 of counter j / 4 is feature j's, in a stream
// for the noise and one for the choice. float32 arithmetic, in float64 the last two operations are double. Strides in
// elements, out contiguous. Reads and writes an element a cell.
struct FeatureNoise {
  const void* x;
  int64_t rows, features;
  int64_t row_stride, stride;
  Dtype dtype;
  const void* factors;  // (features), float32, float64 beside float64; or null
  double scale;
  Seed seed;
  Rows row_ids;
  uint64_t threshold;
  bool gaussian;
  void* out;
};

namespace cpu {
void feature_noise(const FeatureNoise& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t feature_noise(const FeatureNoise& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
