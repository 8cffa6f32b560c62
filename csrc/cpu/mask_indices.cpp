// One pass over the mask: whether an element is true cannot be predicted, so every position is written and the end of
// the list moves or not. The last write of a row may lie one slot beyond its last true element, never beyond the row.
#include "sslfast/mask_indices.h"

#include <algorithm>

#include "packed_rows.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kElementsPerThread = 64 << 10;

int64_t write_row(const MaskIndices& p, int64_t r) {
  const bool* mask = p.mask + r * p.row_stride;
  int64_t* out = p.indices + r * p.length;
  int64_t found = 0;
  for (int64_t i = 0; i < p.length; ++i) {
    out[found] = r * p.length + i;
    found += mask[i * p.stride];
  }
  return found;
}

}  // namespace

void mask_indices(const MaskIndices& p, int threads) {
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kElementsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) p.counts[r] = write_row(p, r);
  pack_rows(p.indices, p.counts, p.rows, p.length);
}

}  // namespace sslfast::cpu
