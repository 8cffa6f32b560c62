#pragma once

#include "sslfast/launch.h"

namespace sslfast {

constexpr int kMostPermutationSpans = 64;

// XLNet's masking of ids (rows, length): spans to predict, an order in which they are predicted, and who may see whom.
// Strides in elements, outputs contiguous; special may be null. Writes length^2 elements of Out a row, which is all
// that counts.
template <typename Id, typename Out>
struct PermutationMask {
  const Id* ids;
  int64_t rows, length;
  int64_t ids_row_stride, ids_stride;
  const bool* special;  // never masked
  int64_t special_row_stride, special_stride;
  Seed seed;
  Rows row_ids;
  bool compat;
  int64_t spans;                            // lengths 1 to this, equally likely
  int64_t contexts[kMostPermutationSpans];  // the context of a span of each length, at least that length
  Id mask_token_id, ignore_index;
  Id* masked_ids;  // (rows, length)
  Id* labels;      // (rows, length): the id where masked, else ignore_index
  bool* mask;      // (rows, length)
  int64_t* order;  // (rows, length): the place of a token in the order, -1: before all and seen by all
  Out* perm_mask;  // (rows, length, length): 1 where token i does not see token j
};

namespace cpu {
void permutation_mask(const PermutationMask<int32_t, bool>& p, int threads);
void permutation_mask(const PermutationMask<int32_t, float>& p, int threads);
void permutation_mask(const PermutationMask<int64_t, bool>& p, int threads);
void permutation_mask(const PermutationMask<int64_t, float>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t permutation_mask(const PermutationMask<int32_t, bool>& p, cudaStream_t stream);
cudaError_t permutation_mask(const PermutationMask<int32_t, float>& p, cudaStream_t stream);
cudaError_t permutation_mask(const PermutationMask<int64_t, bool>& p, cudaStream_t stream);
cudaError_t permutation_mask(const PermutationMask<int64_t, float>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
