// BERT4Rec's masking, one warp per row, one launch, no host synchronisation, nothing atomic.
// An item's number is a ballot over the warp; words are made by all lanes at once, and where a fixed number is masked
// the warp decides lane after lane, each by the outcome of those before. Bytes: items read three times (twice from the
// cache), outputs written once.
#include "../shared/item_choice.h"
#include "sslfast/item_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;  // rows per block
constexpr unsigned kFull = 0xFFFFFFFFu;

// The walk of a warp over its row: visit(column, item, is masked, masked items before it) by every lane.
template <typename Id, typename Visit>
__device__ int64_t walk(const ItemMask<Id>& p, int64_t r, uint64_t seed, uint64_t row, items::Choice c, Visit visit) {
  const int lane = threadIdx.x;
  int64_t number = 0, taken_before = 0;
  for (int64_t base = 0; base < p.length; base += kWarp) {
    const int64_t t = base + lane;
    const Id item = t < p.length ? p.items[r * p.row_stride + t * p.stride] : p.padding_id;
    const unsigned valid = __ballot_sync(kFull, item != p.padding_id);
    const int64_t mine = number + __popc(valid & ((1u << lane) - 1u));
    const Words w = philox(seed, Stream::kItemSelect, row, static_cast<uint32_t>(mine / 4));
    uint32_t word = w.word[0];
    for (int k = 1; k < 4; ++k) word = mine % 4 == k ? w.word[k] : word;  // an index would go through memory
    bool taken = false;
    if (c.only < 0 && c.wanted >= 0) {
      for (int from = 0; from < kWarp; ++from) {
        const uint32_t its = __shfl_sync(kFull, word, from);
        if (!(valid >> from & 1u)) continue;
        const bool its_taken = c.take(0, its);
        if (from == lane) taken = its_taken;
      }
    } else {
      taken = (valid >> lane & 1u) && c.take(mine, word);
    }
    const unsigned all = __ballot_sync(kFull, taken);
    if (t < p.length) visit(t, item, taken, taken_before + __popc(all & ((1u << lane) - 1u)));
    number += __popc(valid);
    taken_before += __popc(all);
  }
  return taken_before;
}

template <typename Id>
__global__ void __launch_bounds__(kWarp* kWarps) mask_rows(ItemMask<Id> p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (r >= p.rows) return;  // the whole warp
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  int64_t items = 0;
  for (int64_t base = 0; base < p.length; base += kWarp) {
    const int64_t t = base + threadIdx.x;
    const bool valid = t < p.length && p.items[r * p.row_stride + t * p.stride] != p.padding_id;
    items += __popc(__ballot_sync(kFull, valid));
  }
  const Words row_words = philox(seed, Stream::kItemRow, row, 0);
  items::Choice c = items::choice(p, items, row_words);
  int64_t taken = walk(p, r, seed, row, c, [](int64_t, Id, bool, int64_t) {});
  if (items::needs_spare(p, items, taken)) {
    c = items::spare_item(items, taken, row_words);
    taken = taken == 0 ? 1 : items - 1;
  }
  const int64_t unlabelled = p.most_labels < 0 ? 0 : taken - p.most_labels;
  walk(p, r, seed, row, c, [&](int64_t t, Id item, bool masked, int64_t before) {
    const int64_t at = r * p.length + t;
    p.masked_items[at] = masked ? p.mask_id : item;
    p.labels[at] = masked && before >= unlabelled && (t > 0 || p.label_first) ? item : p.ignore_index;
    p.mask[at] = masked;
  });
}

template <typename Id>
cudaError_t run(const ItemMask<Id>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.length == 0) return cudaSuccess;
  const int64_t blocks = (p.rows + kWarps - 1) / kWarps;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  mask_rows<<<static_cast<unsigned>(blocks), dim3(kWarp, kWarps), 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t item_mask(const ItemMask<int32_t>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t item_mask(const ItemMask<int64_t>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
