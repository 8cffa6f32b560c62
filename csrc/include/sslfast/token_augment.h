#pragma once

#include <vector>

#include "sslfast/launch.h"

namespace sslfast {

constexpr int kMostTokenSteps = 8;
constexpr int kMostTokenViews = 8;
constexpr int kMostSpecialIds = 16;
constexpr int64_t kMostTokens = int64_t{1} << 26;  // of a row: the draws of a step take the other bits of an element

enum class TokenRule : int32_t {
  kDrop = 0,
  kSwap = 1,
  kRepeat = 2,
  kReplace = 3,
  kInsert = 4,
  kShuffleSpans = 5,
  kShuffleWindow = 6,
  kCrop = 7,
  kReorder = 8,
  kMask = 9,
};

// One rule with its numbers.
struct TokenStep {
  TokenRule rule;
  bool exact;     // a fixed number of tokens, else each by itself
  int64_t count;  // tokens or swaps; negative: rate * tokens, rounded down, but at least `least`
  int64_t least;
  int64_t low, high;  // lengths of spans; high: the window, or whether dropped tokens leave a hole
  double rate;
  uint64_t threshold;  // not exact
};

// Which steps a row and view goes through: all in turn, one at random, or one where two views differ.
enum class TokenChoice : int64_t { kAll = 0, kOne = 1, kDistinct = 2 };

// Rows of ids (rows, length) through steps, views times over, into (views, rows, out_length). A row's tokens are
// numbered without padding and without special tokens, which keep their places among the others: draws go by these
// numbers, so padding does not change them. Strides in elements, outputs contiguous. Reads 8 and writes 9 bytes a token
// and view, 8 more with positions.
template <typename Id>
struct TokenAugment {
  const Id* ids;
  int64_t rows, length, out_length, views;
  int64_t row_stride, stride;
  const bool* present;  // where tokens are; or by lengths; or where ids are not pad_id
  int64_t present_row_stride, present_stride;
  const int64_t* lengths;  // (rows)
  const bool* special;
  int64_t special_row_stride, special_stride;
  int32_t special_ids;
  Id special_id[kMostSpecialIds];
  const int64_t* table_offsets;  // (table_rows + 1): the entries of an id; what is out of range is none
  const int64_t* table_ids;      // (table_entries)
  int64_t table_rows, table_entries;
  Seed seed;
  Rows row_ids;
  TokenChoice choice;
  int32_t steps;
  TokenStep step[kMostTokenSteps];
  Id pad_id, mask_id;
  bool left;           // the side of the padding
  uint8_t* scratch;    // of the GPU, for rows that do not fit its shared memory, or null
  Id* out;             // (views, rows, out_length)
  bool* mask;          // (views, rows, out_length): where tokens are
  int64_t* positions;  // (views, rows, out_length): where a token was, -1 for none; or null
};

constexpr int kTokenStepNumbers = 6;  // rule, exact, count, least, low, high

// What a row needs while it is worked on.
inline int64_t token_scratch_bytes(int64_t out_length) { return (out_length + 3) / 4 * 4 * 24; }

// The steps from `numbers`, kTokenStepNumbers each, and rates; false where there are none or too many.
template <typename Id>
bool read_token_steps(TokenAugment<Id>& p, const std::vector<int64_t>& numbers, const std::vector<double>& rates) {
  if (rates.empty() || rates.size() > kMostTokenSteps || numbers.size() != rates.size() * kTokenStepNumbers)
    return false;
  p.steps = static_cast<int32_t>(rates.size());
  for (int32_t i = 0; i < p.steps; ++i) {
    const int64_t* n = numbers.data() + i * kTokenStepNumbers;
    if (n[0] < 0 || n[0] > 9) return false;
    p.step[i] = {static_cast<TokenRule>(n[0]),   n[1] != 0, n[2], n[3], n[4], n[5], rates[i],
                 probability_threshold(rates[i])};
  }
  return true;
}

template <typename Id>
bool read_special_ids(TokenAugment<Id>& p, const std::vector<int64_t>& ids) {
  if (ids.size() > kMostSpecialIds) return false;
  p.special_ids = static_cast<int32_t>(ids.size());
  for (int32_t i = 0; i < p.special_ids; ++i) p.special_id[i] = static_cast<Id>(ids[i]);
  return true;
}

namespace cpu {
void token_augment(const TokenAugment<int32_t>& p, int threads);
void token_augment(const TokenAugment<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
// Bytes of scratch that rows of this length need beside shared memory.
int64_t token_augment_scratch(int64_t rows, int64_t out_length);
cudaError_t token_augment(const TokenAugment<int32_t>& p, cudaStream_t stream);
cudaError_t token_augment(const TokenAugment<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
