#pragma once

#include "sslfast/launch.h"
#include "sslfast/token_replacement.h"

namespace sslfast {

constexpr int kMostSpanLengths = 64;

// The length of a span in words: lower + (the number of thresholds at or below the word drawn), less than `count`.
struct SpanLengths {
  int64_t lower;
  int32_t count;
  uint64_t thresholds[kMostSpanLengths];  // cumulative, the last 2^32

  SSLFAST_HD int64_t draw(uint32_t word) const {
    int32_t i = 0;
    while (i < count - 1 && word >= thresholds[i]) ++i;
    return lower + i;
  }
};

// SpanBERT's masking of ids (rows, length): spans of whole words until the row's budget of tokens is spent. Strides in
// elements, outputs contiguous; special and word_ids may be null. Reads 8 (17 with both) and writes 17 bytes a token.
template <typename Id>
struct TextSpanMask {
  const Id* ids;
  int64_t rows, length;
  int64_t ids_row_stride, ids_stride;
  const bool* special;
  int64_t special_row_stride, special_stride;
  const int64_t* word_ids;  // equal neighbours are one word; below 0: never masked
  int64_t word_row_stride, word_stride;
  Seed seed;
  Rows row_ids;
  double mask_ratio;
  SpanLengths lengths;
  bool per_span;  // a span is replaced as one
  TokenReplacement<Id> replacement;
  Id last_id;  // CPU alone: ids outside [0, last_id] are refused by std::invalid_argument; negative: none is
  Id ignore_index;
  Id* masked_ids;  // (rows, length)
  Id* labels;      // (rows, length): the id where masked, else ignore_index
  bool* mask;      // (rows, length)
};

namespace cpu {
void text_span_mask(const TextSpanMask<int32_t>& p, int threads);
void text_span_mask(const TextSpanMask<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t text_span_mask(const TextSpanMask<int32_t>& p, cudaStream_t stream);
cudaError_t text_span_mask(const TextSpanMask<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
