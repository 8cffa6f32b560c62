#pragma once

#include "sslfast/launch.h"

namespace sslfast {

enum class FeatureSource : int64_t { kMarginals = 0, kRows = 1 };  // a row of the bank for every cell, or for every row

// Which cells of (rows, features) are corrupted, and from which row of a bank each comes. Feature j decides with word
// j % 4 of counter j / 4, and so does its source, in another stream; a source of the whole row is the first word.
struct FeatureDraws {
  Seed seed;
  Rows row_ids;
  int64_t rows, features;
  bool exact;  // `count` features of every row, else each with the event "word < threshold"
  int64_t count;
  uint64_t threshold;
  FeatureSource source;
  uint64_t bank_rows;
  const int32_t* given;  // (features, rows): the sources, drawn before, or null
  bool* mask;            // (rows, features)
  int64_t* sources;      // (rows, features), or null
};

// out[r, j] = bank[source, j] where masked, else x[r, j]: what is masked is never read, elements of `element_size`
// bytes are moved whatever they mean. Strides in elements, out contiguous.
struct FeatureCorruption {
  FeatureDraws draws;
  int64_t element_size;
  const void* x;
  int64_t x_row_stride, x_stride;
  const void* bank;
  int64_t bank_row_stride, bank_stride;
  void* out;
};

// A random permutation of `rows` numbers for each of `columns`: Fisher and Yates' shuffle from the end, whose step k
// draws word k % 4 of counter k / 4 of the row that the column's number names.
struct ColumnPermutations {
  Seed seed;
  uint32_t stream;
  int64_t columns, rows;
  int32_t* out;  // (columns, rows)
};

namespace cpu {
void column_permutations(const ColumnPermutations& p, int threads);
void feature_corruption(const FeatureCorruption& p, int threads);
void feature_draws(const FeatureDraws& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t column_permutations(const ColumnPermutations& p, cudaStream_t stream);
cudaError_t feature_corruption(const FeatureCorruption& p, cudaStream_t stream);
cudaError_t feature_draws(const FeatureDraws& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
