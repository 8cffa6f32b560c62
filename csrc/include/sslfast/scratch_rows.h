// Working memory of a sum over rows in two levels (csrc/cuda/column_sum.cuh).
#pragma once

#include <cstdint>

namespace sslfast {

constexpr int64_t kFoldRows = 256;  // partial sums that one block folds

// `partial` rows of sums, and behind them the sums of kFoldRows of them each.
constexpr int64_t scratch_rows(int64_t partial) { return partial + (partial + kFoldRows - 1) / kFoldRows; }

}  // namespace sslfast
