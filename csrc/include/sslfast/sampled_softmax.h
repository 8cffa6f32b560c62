// Cross-entropy of rows against a few rows of a table each, one right and `negatives` others, named by number: logits
// s_k = scale <x, y_k>, or of their cosine, + offset_k, less shift + correction_k for the others. The rows of the table
// are read where they lie. Gradients with respect to the rows, the table and the offsets.
#pragma once

#include <cstdint>

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

constexpr double kLeastCosineNorm = 1e-12;  // F.normalize's eps: below it the divisor is constant

// Which of the others are left out, as if their logits were -inf.
enum class Twins : int32_t {
  kSameRow,    // those that are the right row of the table
  kSameCodes,  // and those whose codes are its codes
  kSameValues  // and those whose numbers are its numbers
};

// "sums" stands for the type of sums: double for double, float otherwise.
struct SampledSoftmax {
  const void *rows, *table;  // (row_count, width) and (table_rows, width), within a row contiguous
  Dtype dtype;               // of both
  int64_t row_count, table_rows, width, row_stride, table_stride;
  int64_t losses_count, negatives;
  const int64_t* index;       // (losses): a row each, no row twice; -1: there is no loss here
  const int64_t* positives;   // (losses): the right row of the table; -1: there is no loss here
  const int32_t* candidates;  // (losses or row_count, negatives): the others
  bool candidates_of_rows;    // they lie by the number of the row, not of the loss
  const void* offsets;        // sums (table_rows), or null
  const void* corrections;    // sums (table_rows), or null
  const int64_t* codes;       // (table_rows, code_width), or null
  int64_t code_width;
  const void* weights;  // sums (losses): derivative of the total in a loss; null for 1
  double scale, shift;
  bool cosine;
  Twins twins;
  void* terms;         // sums (losses, 1 + negatives), scratch: derivatives in the logits
  void* inverse_norm;  // sums (table_rows), scratch, with cosine
  void* losses;        // sums (losses); NaN where a number names no row
  void* d_rows;        // sums (row_count, width), or null; 0 where no index points
  void* d_table;       // sums (table_rows, width), or null
  void* d_offsets;     // sums (table_rows), or null
  // Scratch of the GPU, for d_table and d_offsets: entries are numbers of terms.
  int32_t *keys, *sorted_keys;  // (losses * (1 + negatives)): the row of the table, or table_rows for none
  int32_t *entries, *sorted_entries;
  void* sort_memory;
  int64_t sort_bytes;
};

namespace cpu {
void sampled_softmax(const SampledSoftmax& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t sampled_softmax(const SampledSoftmax& p, cudaStream_t stream);
// Bytes of scratch that sorting so many terms takes.
cudaError_t sampled_softmax_sort_bytes(int64_t terms, int64_t table_rows, int64_t* bytes);
}  // namespace cuda
#endif

}  // namespace sslfast
