#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// Where a replacement comes from: a row of the bank for every cell, or for every row; between the least and the
// greatest value of the bank's column; or x's own column in a random order (shared/random_order.h).
enum class FeatureSource : int64_t { kMarginals = 0, kRows = 1, kUniform = 2, kPermutation = 3 };

// out[r, j] = masked ? replacement : x[r, j]: what is replaced is never read. Feature j decides with word j % 4 of
// counter j / 4, and so does its source, in another stream; a source of the whole row is the first word. Elements of
// `element_size` bytes are moved whatever they mean, but for kUniform. Strides in elements, outputs contiguous.
struct FeatureCorruption {
  Seed seed;
  Rows row_ids;
  int64_t rows, features;
  bool exact;  // `count` features of every row, else each with the event "word < threshold"
  int64_t count;
  uint64_t threshold;
  FeatureSource source;
  int64_t element_size;
  Dtype dtype;        // with kUniform
  bool changed;       // the mask leaves out cells that came out the same
  uint64_t infinity;  // the bits of the type's infinity, above which NaN lies; 0: no floating-point type
  const void* x;
  int64_t x_row_stride, x_stride;
  const void* bank;
  int64_t bank_rows, bank_row_stride, bank_stride;
  void* out;
  bool* mask;        // (rows, features)
  int32_t* sources;  // (rows, features): the row of the bank, 0 with kUniform, -1 where not replaced; or null
  uint64_t* ranges;  // the GPU's working memory with kUniform: 2 a feature
};

// Of out = corruption of x: x's gradient is grad where not replaced, and that of the bank's row s the sum of grad over
// the cells that s replaced, in the order of the rows, in float or, for double, double. Where the bank is x, both are
// one. Each result may be null; all contiguous but grad.
struct FeatureCorruptionBackward {
  const void* grad;
  int64_t row_stride, stride;
  const int32_t* sources;  // (rows, features)
  int64_t rows, features, bank_rows;
  bool bank_is_x;
  Dtype dtype;
  void* x;     // (rows, features)
  void* bank;  // (bank_rows, features)
};

namespace cpu {
void feature_corruption(const FeatureCorruption& p, int threads);
void feature_corruption_backward(const FeatureCorruptionBackward& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t feature_corruption(const FeatureCorruption& p, cudaStream_t stream);
cudaError_t feature_corruption_backward(const FeatureCorruptionBackward& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
