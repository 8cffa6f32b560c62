// How many patches one row of DinoMask masks, and its mask.
#pragma once

#include "block_mask_row.h"
#include "sslfast/dino_mask.h"

namespace sslfast::dino {

// (word, index): the order of the rows of a batch.
SSLFAST_HD uint64_t order_pair(const DinoMask& p, uint64_t seed, int64_t r) {
  const uint64_t batch = static_cast<uint64_t>(p.batch_number);
  return subset_pair(philox(seed, Stream::kDinoOrder, batch, static_cast<uint32_t>(r / 4)), r);
}

SSLFAST_HD int64_t target(const DinoMask& p, uint64_t seed, int64_t r, int64_t place) {
  using namespace portable;
  if (place >= p.masked_rows) return 0;
  const uint32_t word = philox(seed, Stream::kDinoRatio, p.row_ids[r], 0).word[0];
  const double bin = add(static_cast<double>(place), mul(word, 1.0 / 4294967296.0));
  const double ratio =
      add(p.ratio_low, mul(sub(p.ratio_high, p.ratio_low), div(bin, static_cast<double>(p.masked_rows))));
  return static_cast<int64_t>(mul(static_cast<double>(p.rule.height * p.rule.width), ratio));
}

// Returns the number of masked patches.
SSLFAST_HD int64_t write_row(const DinoMask& p, uint64_t seed, int64_t r, int64_t place, const BitGrid& grid,
                             blocks::Tries& tries, uint64_t* memory, Lanes lanes) {
  const uint64_t row = p.row_ids[r];
  blocks::fill_row(p.rule, seed, row, target(p, seed, r, place), grid, tries, memory, lanes);
  blocks::write_row(p.rule, seed, row, grid, p.mask + r * grid.height * grid.width, lanes);
  int found = 0;
  for (int64_t i = lanes.first; i < grid.height * grid.words; i += lanes.step) found += count_bits(grid.bits[i]);
  return lane_sum(found);
}

}  // namespace sslfast::dino
