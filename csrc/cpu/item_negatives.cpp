// The words of a row in a loop that vectorises, then its items.
#include "sslfast/item_negatives.h"

#include <algorithm>
#include <vector>

#include "../shared/item_draw.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kItemsPerThread = 16 << 10;

SSLFAST_ISA_CLONES void draw_row(uint64_t seed, uint64_t row, int64_t n, const int64_t* thresholds, int64_t items,
                                 Words* words, int32_t* out) {
  const int64_t counters = (n + kItemsPerCounter - 1) / kItemsPerCounter;
  for (int64_t i = 0; i < counters; ++i) {
    words[i] = philox(seed, Stream::kItemNegatives, row, static_cast<uint32_t>(i));
  }
  for (int64_t k = 0; k < n; ++k) {
    out[k] = draw_item(words[k / kItemsPerCounter], static_cast<int>(k % kItemsPerCounter), thresholds, items);
  }
}

}  // namespace

void item_negatives(const ItemNegatives& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.negatives / kItemsPerThread, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<Words> words((p.negatives + kItemsPerCounter - 1) / kItemsPerCounter);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) {
      draw_row(seed, static_cast<uint64_t>(p.numbers[r]), p.negatives, p.thresholds, p.items, words.data(),
               p.out + r * p.negatives);
    }
  }
}

}  // namespace sslfast::cpu
