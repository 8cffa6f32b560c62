#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// `negatives` items for each row, drawn with replacement, from a table of thresholds (csrc/shared/item_draw.h) or
// alike. Negative k of a row is number k % 2 of counter k / 2 of the row's number. Writes 4 bytes a negative.
struct ItemNegatives {
  const int64_t* numbers;  // (rows): the number of each row in the draws
  int64_t rows, items, negatives;
  const int64_t* thresholds;  // (items), or null
  Seed seed;
  int32_t* out;  // (rows, negatives)
};

namespace cpu {
void item_negatives(const ItemNegatives& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t item_negatives(const ItemNegatives& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
