// Copies of whole rows by warps, 16 bytes per lane and step where alignment allows.
#pragma once

#include <cstdint>

#include "sslfast/launch.h"

namespace sslfast::cuda {

constexpr int kWarp = 32;
constexpr int kRowsPerBlock = 8;

// One warp moves one row of `width` units from `from` (null: zeros) to `out`.
template <typename Unit>
__device__ void copy_row(Unit* out, const Unit* from, int64_t width, int64_t stride) {
  for (int64_t d = threadIdx.x; d < width; d += kWarp) out[d] = from ? from[d * stride] : Unit{};
}

// Whether rows of this tensor can be moved as 16-byte units; if so the three sizes are changed from elements to units.
inline bool widen(const void* data, int64_t element_size, int64_t& row_stride, int64_t& patch_stride, int64_t stride,
                  int64_t& width) {
  const int64_t per_unit = 16 / element_size;
  if (stride != 1 || reinterpret_cast<uintptr_t>(data) % 16 != 0 || width % per_unit != 0 ||
      row_stride % per_unit != 0 || patch_stride % per_unit != 0) {
    return false;
  }
  row_stride /= per_unit;
  patch_stride /= per_unit;
  width /= per_unit;
  return true;
}

// Calls rows(grid, block) with a warp for each of `count` rows.
template <typename Rows>
cudaError_t for_rows(int64_t count, Rows rows) {
  if (count == 0) return cudaSuccess;
  const int64_t blocks = (count + kRowsPerBlock - 1) / kRowsPerBlock;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  rows(dim3(static_cast<unsigned>(blocks)), dim3(kWarp, kRowsPerBlock));
  return cudaGetLastError();
}

// Calls copy(unit, grid, block) with a value of the type that is moved.
template <typename Copy>
cudaError_t for_unit(bool wide, int64_t element_size, int64_t copies, Copy copy) {
  return for_rows(copies, [&](dim3 grid, dim3 block) {
    if (wide) {
      copy(uint4{}, grid, block);
    } else if (element_size == 1) {
      copy(uint8_t{}, grid, block);
    } else if (element_size == 2) {
      copy(uint16_t{}, grid, block);
    } else if (element_size == 4) {
      copy(uint32_t{}, grid, block);
    } else {
      copy(uint64_t{}, grid, block);
    }
  });
}

}  // namespace sslfast::cuda
