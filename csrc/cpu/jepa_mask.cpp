// Two passes over the rows, each in parallel: blocks as bits, then, with the size that the batch shares, their numbers.
#include "sslfast/jepa_mask.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "isa.h"
#include "shared/jepa_mask_row.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kPatchesPerThread = 4 << 10;

int team(const JepaLists& p, int threads) {
  return static_cast<int>(std::clamp<int64_t>(p.rows * p.lines * p.width / kPatchesPerThread, 1, threads));
}

SSLFAST_ISA_CLONES void place_row(const IJepaMask& p, uint64_t seed, int64_t r, const BitGrid& blocked) {
  Rectangle targets[kMostBlocks];
  jepa::ijepa_row(p, seed, r, blocked, targets, {0, 1});
}

SSLFAST_ISA_CLONES void place_row(const VJepaMask& p, uint64_t seed, int64_t r, const BitGrid& blocked) {
  jepa::vjepa_row(p, seed, r, blocked, {0, 1});
}

SSLFAST_ISA_CLONES void write_list(const JepaLists& p, uint64_t seed, int64_t list, int64_t r, int64_t size,
                                   uint64_t* memory) {
  jepa::write_list(p, seed, list, r, size, memory, {0, 1});
}

template <typename Mask>
void make_lists(const Mask& mask, const JepaLists& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = team(p, threads);
  const int64_t words = p.lines * words_per_line(p.width);
  const int64_t size = std::max(words, (p.lines * p.width + 3) / 4 * 4);
  std::vector<uint64_t> memory(threads * size);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    place_row(mask, seed, r, {memory.data() + omp_get_thread_num() * size, p.lines, p.width, words_per_line(p.width)});
  }
  for (int64_t list = 0; list < p.lists; ++list) p.sizes[list] = jepa::list_size(p, list, {0, 1});
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.lists * p.rows; ++i) {
    const int64_t list = i / p.rows;
    write_list(p, seed, list, i % p.rows, p.sizes[list], memory.data() + omp_get_thread_num() * size);
  }
}

}  // namespace

void ijepa_mask(const IJepaMask& p, int threads) {
  const Rectangle target = jepa::ijepa_size(p, p.contexts.seed.get(), 0);
  *p.target_size = target.height * target.width;
  make_lists(p, p.contexts, threads);
}

void vjepa_mask(const VJepaMask& p, int threads) { make_lists(p, p.lists, threads); }

}  // namespace sslfast::cpu
