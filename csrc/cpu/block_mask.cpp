// Rows in parallel. A grid of up to 64 columns is one word a line, so counting what a block would add and adding it are
// a few instructions a line; the numbers of 16 tries are drawn together, in vectors.
#include "sslfast/block_mask.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "isa.h"
#include "shared/block_mask_row.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kPatchesPerThread = 4 << 10;

SSLFAST_ISA_CLONES void write_block_row(const BlockMask& p, uint64_t seed, int64_t r, uint64_t* bits,
                                        uint64_t* memory) {
  const BlockRule rule = p.rule;
  const BitGrid grid{bits, rule.height, rule.width, words_per_line(rule.width)};
  const int64_t patches = rule.height * rule.width;
  const double target = blocks::row_target(p, seed, r);
  blocks::Tries tries;
  blocks::fill_row(rule, seed, p.row_ids[r], target, grid, tries, memory, {0, 1});
  blocks::write_row(rule, seed, p.row_ids[r], grid, p.mask + r * patches, {0, 1});
}

SSLFAST_ISA_CLONES void write_square_row(const SquareMask& p, uint64_t seed, int64_t r, uint64_t* bits,
                                         uint64_t* memory) {
  blocks::write_square_row(p, seed, r, {bits, p.height, p.width, words_per_line(p.width)}, memory, {0, 1});
}

SSLFAST_ISA_CLONES void write_inverse_row(const InverseBlockMask& p, uint64_t seed, int64_t r) {
  blocks::write_inverse_row(p, seed, r, {0, 1});
}

int team(int64_t patches, int threads) {
  return static_cast<int>(std::clamp<int64_t>(patches / kPatchesPerThread, 1, threads));
}

}  // namespace

void block_mask(const BlockMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t patches = p.rule.height * p.rule.width;
  const int64_t bits = p.rule.height * words_per_line(p.rule.width), size = bits + (patches + 3) / 4 * 4;
  threads = team(p.rows * patches, threads);
  std::vector<uint64_t> memory(threads * size);
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    uint64_t* mine = memory.data() + omp_get_thread_num() * size;
    write_block_row(p, seed, r, mine, mine + bits);
  }
}

void inverse_block_mask(const InverseBlockMask& p, int threads) {
  const uint64_t seed = p.seed.get();
#pragma omp parallel for num_threads(team(p.rows* p.height* p.width, threads)) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) write_inverse_row(p, seed, r);
}

void square_mask(const SquareMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t patches = p.height * p.width;
  const int64_t bits = p.height * words_per_line(p.width), size = bits + (patches + 3) / 4 * 4;
  threads = team(p.rows * patches, threads);
  std::vector<uint64_t> memory(threads * size);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    uint64_t* mine = memory.data() + omp_get_thread_num() * size;
    write_square_row(p, seed, r, mine, mine + bits);
  }
}

}  // namespace sslfast::cpu
