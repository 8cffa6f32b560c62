// Square matrices of small batches.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sslfast::cpu {

// w (n, n) <- w + w^T, so that one product takes the gradients of rows and of columns.
template <typename T>
void add_transposed(T* w, int64_t n, int threads) {
  constexpr int64_t kBlock = 16;  // rows and columns, which stay in L1
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
  for (int64_t i0 = 0; i0 < n; i0 += kBlock) {
    for (int64_t j0 = i0; j0 < n; j0 += kBlock) {
      for (int64_t i = i0; i < std::min(i0 + kBlock, n); ++i) {
        for (int64_t j = std::max(j0, i); j < std::min(j0 + kBlock, n); ++j) {
          const T both = w[i * n + j] + w[j * n + i];
          w[i * n + j] = w[j * n + i] = both;
        }
      }
    }
  }
}

}  // namespace sslfast::cpu
