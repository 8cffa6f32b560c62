#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// BERT4Rec's masking of item sequences (rows, length), padded on any side; strides in elements, outputs contiguous.
// Draws go by an item's number among the items of its row, so padding does not change them. Reads 8 and writes 17
// bytes an item.
template <typename Id>
struct ItemMask {
  const Id* items;
  int64_t rows, length;
  int64_t row_stride, stride;
  Id padding_id, mask_id, ignore_index;
  Seed seed;
  Rows row_ids;
  bool exact;                 // round(items * mask_ratio) of them, else each by itself
  double mask_ratio;          // exact
  uint64_t select_threshold;  // not exact
  uint64_t last_threshold;    // row word below this: the last item alone
  bool at_least_one;          // is masked, and of two items or more one is not
  int64_t most_labels;        // of a row's masked items the last so many get a label; negative: all
  bool label_first;           // whether the item in column 0 may get a label
  Id* masked_items;           // (rows, length)
  Id* labels;                 // (rows, length): the item where masked, else ignore_index
  bool* mask;                 // (rows, length)
};

namespace cpu {
void item_mask(const ItemMask<int32_t>& p, int threads);
void item_mask(const ItemMask<int64_t>& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t item_mask(const ItemMask<int32_t>& p, cudaStream_t stream);
cudaError_t item_mask(const ItemMask<int64_t>& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
