// The rows' places by one sort, the rows in parallel, then the positions in order: the first write of a slot is final
// but for the one behind the last, so a row's positions are written without asking whether they are masked.
#include "sslfast/dino_mask.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "isa.h"
#include "shared/dino_mask_row.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kPatchesPerThread = 4 << 10;

SSLFAST_ISA_CLONES int64_t write_row(const DinoMask& p, uint64_t seed, int64_t r, int64_t place, uint64_t* bits,
                                     uint64_t* memory) {
  const BitGrid grid{bits, p.rule.height, p.rule.width, words_per_line(p.rule.width)};
  blocks::Tries tries;
  return dino::write_row(p, seed, r, place, grid, tries, memory, {0, 1});
}

void pack(const DinoMask& p) {
  const int64_t patches = p.rule.height * p.rule.width;
  std::vector<int64_t> found(patches + 1);
  int64_t total = 0;
  for (int64_t r = 0; r < p.rows; ++r) {
    if (p.counts[r] == 0) continue;
    const bool* mask = p.mask + r * patches;
    int64_t n = 0;
    for (int64_t i = 0; i < patches; ++i) {
      found[n] = r * patches + i;
      n += mask[i];
    }
    std::copy_n(found.data(), n, p.indices + total);
    std::fill_n(p.weights + total, n, 1.0f / static_cast<float>(n));
    total += n;
  }
  std::fill(p.indices + total, p.indices + p.capacity, int64_t{-1});
  std::fill(p.weights + total, p.weights + p.capacity, 0.0f);
  *p.total = total;
}

}  // namespace

void dino_mask(const DinoMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  std::vector<uint64_t> order(p.rows);
  for (int64_t r = 0; r < p.rows; ++r) order[r] = dino::order_pair(p, seed, r);
  std::sort(order.begin(), order.end());
  std::vector<int64_t> places(p.rows);
  for (int64_t place = 0; place < p.rows; ++place) places[static_cast<uint32_t>(order[place])] = place;

  const int64_t patches = p.rule.height * p.rule.width;
  const int64_t bits = p.rule.height * words_per_line(p.rule.width), size = bits + (patches + 3) / 4 * 4;
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * patches / kPatchesPerThread, 1, threads));
  std::vector<uint64_t> memory(threads * size);
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    uint64_t* mine = memory.data() + omp_get_thread_num() * size;
    p.counts[r] = write_row(p, seed, r, places[r], mine, mine + bits);
  }
  pack(p);
}

}  // namespace sslfast::cpu
