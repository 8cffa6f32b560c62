#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// Of integers only the size counts: they are compared with 0 and 1.
enum class NumberType : int32_t { kInt8, kInt16, kInt32, kInt64, kFloat32, kFloat64, kBfloat16, kFloat16 };

// A number for each token, (rows, length), strides in elements.
struct TokenNumbers {
  const void* data;
  NumberType type;
  int64_t row_stride, stride;
};

// Losses log(1 + exp(sign * logit)) of tokens, sign -1 where replaced is 1, 1 where it is 0, NaN where it is neither;
// and their derivatives in the logit, times a weight. A token where attention_mask is 0 has loss and derivative 0,
// whatever logit and label are there.
struct ReplacedToken {
  const void* logits;  // (rows, length), strides in elements
  Dtype dtype;
  int64_t rows, length, row_stride, stride;
  TokenNumbers replaced;
  TokenNumbers attention_mask;  // integers; no data: all are tokens
  // `losses`, or `total` = their sum * share. All of the type of sums: float, or double for double.
  void* losses;       // (rows, length), or null
  void* total;        // one, or null
  void* share;        // one, written with total: 1 / items, or 1 / divisor, or 1 / max(tokens, 1); 0 where items is 0
  const void* items;  // one, or null
  double divisor;     // 0: tokens
  double* partial;    // scratch, partial_sums(rows * length) each
  int64_t* counts;
  void* grad;           // (rows, length) of the type of logits, contiguous, or null
  const void* weights;  // of the derivatives, (rows, length) with these strides; null: share
  int64_t weight_row_stride, weight_stride;
};

// Tokens whose losses are added up first. At most so many sums are added then; blocks beyond go round.
constexpr int64_t kTokensPerSum = 2048, kMostSums = 4096;
constexpr int64_t partial_sums(int64_t tokens) {
  const int64_t sums = (tokens + kTokensPerSum - 1) / kTokensPerSum;
  return sums < kMostSums ? sums : kMostSums;
}

namespace cpu {
void replaced_token(const ReplacedToken& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t replaced_token(const ReplacedToken& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
