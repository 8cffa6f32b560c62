// A row twice: its items are counted, then each is decided with its word; what has no label is cleared afterwards.
#include "sslfast/item_mask.h"

#include <algorithm>

#include "../shared/item_choice.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kChunk = 256;  // items whose words are made at once
constexpr int64_t kItemsPerThread = 8192;

SSLFAST_ISA_CLONES void item_words(uint64_t seed, uint64_t row, int64_t first, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kItemSelect, row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

template <typename Id>
void mask_row(const ItemMask<Id>& p, uint64_t seed, int64_t r) {
  const uint64_t row = p.row_ids[r];
  const Id* in = p.items + r * p.row_stride;
  Id* out = p.masked_items + r * p.length;
  Id* labels = p.labels + r * p.length;
  bool* mask = p.mask + r * p.length;
  int64_t items = 0;
  for (int64_t t = 0; t < p.length; ++t) {
    out[t] = in[t * p.stride];
    items += out[t] != p.padding_id;
  }
  const Words row_words = philox(seed, Stream::kItemRow, row, 0);
  uint32_t words[kChunk];
  const auto decide = [&](items::Choice c) {
    int64_t number = 0, taken = 0;
    for (int64_t t = 0; t < p.length; ++t) {
      mask[t] = false;
      if (out[t] == p.padding_id) continue;
      if (number % kChunk == 0) item_words(seed, row, number, (std::min(kChunk, items - number) + 3) / 4, words);
      mask[t] = c.take(number, words[number % kChunk]);
      taken += mask[t];
      ++number;
    }
    return taken;
  };
  int64_t taken = decide(items::choice(p, items, row_words));
  if (items::needs_spare(p, items, taken)) taken = decide(items::spare_item(items, taken, row_words));
  int64_t unlabelled = p.most_labels < 0 ? 0 : taken - p.most_labels;
  for (int64_t t = 0; t < p.length; ++t) {
    const bool labelled = mask[t] && unlabelled-- <= 0 && (t > 0 || p.label_first);
    labels[t] = labelled ? out[t] : p.ignore_index;
    if (mask[t]) out[t] = p.mask_id;
  }
}

template <typename Id>
void run(const ItemMask<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kItemsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) mask_row(p, seed, r);
}

}  // namespace

void item_mask(const ItemMask<int32_t>& p, int threads) { run(p, threads); }
void item_mask(const ItemMask<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
