// Panels of the right factor of a tile's product: kPanel columns and kDepth words of the depth, next to each other.
#pragma once

#include <cstdint>

#include "sslfast/tile_product.h"

namespace sslfast::cpu {

constexpr int64_t kDepth = kDepthAtOnce, kPanel = kColumnsAtOnce;
constexpr int kVectors = kPanel / 16;

template <typename T>
constexpr int64_t kPerWord = 4 / sizeof(T);
template <typename T>
constexpr int64_t kStep = kDepth * kPerWord<T>;  // numbers along the depth of a panel

// panel <- `width` columns from col0 and `numbers` numbers of the depth from k, as words; columns are filled up to
// kPanel with zeros.
template <typename T>
void pack_panel(const RightFactor<T>& right, int64_t col0, int64_t width, int64_t k, int64_t numbers, int32_t* panel);

}  // namespace sslfast::cpu
