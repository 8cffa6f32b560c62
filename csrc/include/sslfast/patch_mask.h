#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// MAE random masking: each row's patches in the order of (Philox word, index), or of (noise, index) where that is
// given; the first `keep` stay. Patch l draws word l % 4 of counter l / 4. `prefix` tokens in front of the patches
// stay too and come first. Outputs contiguous; writes 8 (prefix + keep) + 9 (prefix + patches) bytes per row.
struct PatchMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, patches, keep, prefix;
  bool ascending;     // what stays keeps its order, and so does what goes
  const void* noise;  // (rows, patches), float or double, or null
  bool noise_is_double;
  int64_t noise_row_stride, noise_stride;
  int64_t* ids_keep;     // (rows, prefix + keep): what stays, first in order first
  int64_t* ids_restore;  // (rows, prefix + patches): place of each token in the order, the inverse permutation
  bool* mask;            // (rows, prefix + patches): true where the patch is not kept
};

namespace cpu {
void patch_mask(const PatchMask& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t patch_mask(const PatchMask& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
