// Positions that every row wrote at the start of its own `length` slots, moved together once the counts are known.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sslfast::cpu {

inline void pack_rows(int64_t* slots, const int64_t* counts, int64_t rows, int64_t length) {
  int64_t total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    std::memmove(slots + total, slots + r * length, sizeof(int64_t) * counts[r]);
    total += counts[r];
  }
  std::fill(slots + total, slots + rows * length, int64_t{-1});
}

}  // namespace sslfast::cpu
