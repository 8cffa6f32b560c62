#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// The input of MAE's decoder: out (rows, length, width), length = prefix + patches, where place l holds the token that
// shared/patch_place.h finds, or the mask token, plus positions[l]. Computed in float, or double for double, and
// rounded once. Strides in elements; the innermost of tokens is 1, everything else is contiguous. `out` has the type of
// tokens, or is float for tokens in half types.
struct PatchUnshuffle {
  const void* tokens;  // (rows, prefix + keep, width)
  int64_t row_stride, token_stride;
  const void* mask_token;      // (width), of the type of out
  const void* positions;       // (length, width), of the type of out, or null
  const int64_t* ids_restore;  // (rows, patches)
  int64_t rows, patches, keep, prefix, width;
  Dtype dtype, out_dtype;
  void* out;
};

// Rows whose sums a block makes, in order: sums do not depend on threads or chips.
constexpr int64_t kUnshuffleRows = 32;

// Its backward in one pass over grad (rows, length, width), of dtype out_dtype. Each of the results may be null.
struct PatchUnshuffleBackward {
  const void* grad;
  int64_t row_stride, token_stride;
  const int64_t* ids_restore;
  int64_t rows, patches, keep, prefix, width;
  Dtype dtype, out_dtype;
  void* tokens;      // (rows, prefix + keep, width), of dtype `dtype`
  void* mask_token;  // (width): sum over the masked places; like the next one in float, or double for double
  void* positions;   // (length, width): sum over rows
  // The GPU's working memory, of the type of the sums: rows of `width` numbers, as many as scratch_rows says.
  void* mask_scratch;
  void* position_scratch;  // (chunks of kUnshuffleRows, length, width)
};

namespace cpu {
// What keeps a row of ids from being a permutation: a place out of range, or one that is there a second time.
struct Misplaced {
  int64_t row;  // -1: nothing does
  int64_t place;
  bool repeated;
};
Misplaced first_misplaced(const int64_t* ids, int64_t rows, int64_t patches);  // ids (rows, patches)
void patch_unshuffle(const PatchUnshuffle& p, int threads);
void patch_unshuffle_backward(const PatchUnshuffleBackward& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t patch_unshuffle(const PatchUnshuffle& p, cudaStream_t stream);
cudaError_t patch_unshuffle_backward(const PatchUnshuffleBackward& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
