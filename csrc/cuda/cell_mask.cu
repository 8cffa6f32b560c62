// Masks by whole cells: one warp a row, one launch, no host synchronisation. Up to 4096 cells the keys of a row are in
// shared memory; beyond, they are drawn again where they are compared. Bytes: 1 written a patch.
#include "shared/cell_mask_row.h"

namespace sslfast::cuda {
namespace {

constexpr int kWarp = 32;

template <bool kStored>
__global__ void __launch_bounds__(kWarp) cell_rows(CellMask p) {
  extern __shared__ uint64_t memory[];
  const Lanes lanes{static_cast<int>(threadIdx.x), kWarp};
  const auto drawn = cells::draw_pairs(p, p.seed.get(), blockIdx.x);
  if constexpr (kStored) {
    cells::write_row(p, blockIdx.x, store_pairs(drawn, memory, p.cells(), lanes), lanes);
  } else {
    cells::write_row(p, blockIdx.x, drawn, lanes);
  }
}

}  // namespace

cudaError_t cell_mask(const CellMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const unsigned rows = static_cast<unsigned>(p.rows);
  if (p.cells() <= kStoredPairs) {
    const size_t bytes = (p.cells() + 3) / 4 * 4 * sizeof(uint64_t);
    cell_rows<true><<<rows, kWarp, bytes, stream>>>(p);
  } else {
    cell_rows<false><<<rows, kWarp, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
