#pragma once

#include "sslfast/launch.h"
#include "sslfast/token_replacement.h"

namespace sslfast {

// BERT token masking of ids (rows, length); strides in elements, outputs contiguous, special may be null.
// Reads 8 and writes 24 bytes per int64 token. counts (rows) is scratch: the number masked in each row.
template <typename Id>
struct TokenMask {
  const Id* ids;
  int64_t rows, length;
  int64_t ids_row_stride, ids_stride;
  const bool* special;
  int64_t special_row_stride, special_stride;
  Seed seed;
  Rows row_ids;
  uint64_t select_threshold;  // masked: select word below this
  TokenReplacement<Id> replacement;
  Id last_id;  // CPU alone: ids outside [0, last_id] are refused by std::invalid_argument; negative: none is
  Id ignore_index;
  Id* masked_ids;   // (rows, length)
  Id* labels;       // (rows, length): the id where masked, else ignore_index
  int64_t* masked;  // (rows * length): flat positions of masked tokens, ascending, then -1
  int64_t* counts;  // (rows)
  int64_t* forced;  // (rows), or null. Where given, a row without a masked token gets the one with the least select
                    // word, the first of equals; on the GPU it is scratch: that token, or -1
};

namespace cpu {
void token_mask(const TokenMask<int16_t>& p, int threads);
void token_mask(const TokenMask<int32_t>& p, int threads);
void token_mask(const TokenMask<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t token_mask(const TokenMask<int16_t>& p, cudaStream_t stream);
cudaError_t token_mask(const TokenMask<int32_t>& p, cudaStream_t stream);
cudaError_t token_mask(const TokenMask<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
