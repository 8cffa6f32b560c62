// One row of block masks, in integers and portable double arithmetic: the same bits on CPU and GPU.
#pragma once

#include "bit_grid.h"
#include "portable_double.h"
#include "random_subset.h"
#include "sslfast/block_mask.h"

namespace sslfast::blocks {

constexpr int kDrawn = 16;  // tries whose numbers are drawn together

// The numbers of the next tries: independent of what is masked so far.
struct Tries {
  double aspect[kDrawn];
  uint32_t area[kDrawn], top[kDrawn], left[kDrawn];
};

SSLFAST_HD double uniform(uint32_t word, double low, double high) {
  using namespace portable;
  return add(low, mul(sub(high, low), mul(word, 1.0 / 4294967296.0)));
}

SSLFAST_HD void draw_tries(const BlockRule& rule, uint64_t seed, uint64_t row, uint32_t first, Tries& tries,
                           Lanes lanes) {
  for (int i = lanes.first; i < kDrawn; i += lanes.step) {
    const Words w = philox(seed, Stream::kBlock, row, first + static_cast<uint32_t>(i));
    tries.area[i] = w.word[0];
    tries.aspect[i] = portable::exponential(uniform(w.word[1], rule.log_aspect_low, rule.log_aspect_high));
    tries.top[i] = w.word[2];
    tries.left[i] = w.word[3];
  }
}

// Masks blocks until the target is reached or `tries` tries in a row add nothing. A block adds at least one patch and
// never more than are missing, so that of a target that is no whole number the rest is never masked. Returns how many
// are masked.
SSLFAST_HD int64_t fill_blocks(const BlockRule& rule, uint64_t seed, uint64_t row, double target, const BitGrid& grid,
                               Tries& tries, Lanes lanes) {
  using namespace portable;
  const double largest_height = static_cast<double>(rule.exact ? rule.height : rule.height - 1);
  const double largest_width = static_cast<double>(rule.exact ? rule.width : rule.width - 1);
  int64_t masked = 0;
  uint32_t attempt = 0;
  for (;;) {
    const double missing = sub(target, static_cast<double>(masked));
    if (missing < 1) break;
    const double most = missing < rule.max_patches ? missing : rule.max_patches;
    int64_t added = 0;
    for (int64_t k = 0; k < rule.tries && added == 0; ++k, ++attempt) {
      const uint32_t i = attempt % kDrawn;
      if (i == 0) {
        lane_barrier();
        draw_tries(rule, seed, row, attempt, tries, lanes);
        lane_barrier();
      }
      const double area = uniform(tries.area[i], rule.min_patches, most);
      const double height = round_half_even(square_root(mul(area, tries.aspect[i])));
      const double width = round_half_even(square_root(div(area, tries.aspect[i])));
      if (!(height >= 1 && width >= 1 && height <= largest_height && width <= largest_width)) continue;
      Rectangle block{0, 0, static_cast<int64_t>(height), static_cast<int64_t>(width)};
      block.top = uniform_below(tries.top[i], static_cast<uint64_t>(rule.height - block.height + 1));
      block.left = uniform_below(tries.left[i], static_cast<uint64_t>(rule.width - block.width + 1));
      const int64_t more = block.height * block.width - grid.count(block, lanes);
      if (more > 0 && static_cast<double>(more) <= most) {
        grid.fill(block, lanes);
        added = more;
      }
    }
    if (added == 0) break;
    masked += added;
  }
  return masked;
}

struct Unmasked {
  BitGrid grid;

  SSLFAST_HD bool operator()(int64_t i) const { return !grid.get(i / grid.width, i % grid.width); }
};

// Masks `missing` more patches, every subset of the others equally likely.
template <typename Pairs>
SSLFAST_HD void fill_subset(const BitGrid& grid, const Pairs& pairs, int64_t missing, Lanes lanes) {
  const uint64_t bound = subset_bound(pairs, grid.height * grid.width, missing, lanes);
  lane_barrier();
  for (int64_t i = lanes.first; i < grid.height * grid.words; i += lanes.step) {  // a word has one writer
    const int64_t first = i % grid.words * 64, last = first + 64 < grid.width ? first + 64 : grid.width;
    for (int64_t x = first; x < last; ++x) {
      if (pairs(i / grid.words * grid.width + x) < bound) grid.bits[i] |= uint64_t{1} << (x - first);
    }
  }
  lane_barrier();
}

// How many patches of row r shall be masked; a whole number where the rule is exact.
SSLFAST_HD double row_target(const BlockMask& p, uint64_t seed, int64_t r) {
  const Words w = philox(seed, Stream::kBlockTarget, p.row_ids[r], 0);
  if (w.word[0] >= p.row_threshold) return 0;
  if (!p.targets) {
    if (!p.rule.exact) return uniform(w.word[1], p.target_low, p.target_high);
    const double numbers = portable::add(portable::sub(p.target_high, p.target_low), 1);
    return portable::add(p.target_low, static_cast<double>(uniform_below(w.word[1], static_cast<uint64_t>(numbers))));
  }
  const int64_t target = p.targets[r], patches = p.rule.height * p.rule.width;
  return static_cast<double>(target < 0 ? 0 : target > patches ? patches : target);
}

// The whole mask of a row. `memory`: the patches, rounded up to whole counters, or null.
SSLFAST_HD void fill_row(const BlockRule& rule, uint64_t seed, uint64_t row, double target, const BitGrid& grid,
                         Tries& tries, uint64_t* memory, Lanes lanes) {
  grid.clear(lanes);
  const int64_t masked = fill_blocks(rule, seed, row, target, grid, tries, lanes);
  const int64_t missing = static_cast<int64_t>(target) - masked;
  if (!rule.exact || missing == 0) return;
  const DrawnPairs<Unmasked> pairs{{seed, static_cast<uint32_t>(Stream::kBlockRest), row, 0}, {grid}};
  if (memory) {
    fill_subset(grid, store_pairs(pairs, memory, grid.height * grid.width, lanes), missing, lanes);
  } else {
    fill_subset(grid, pairs, missing, lanes);
  }
}

SSLFAST_HD void write_row(const BlockRule& rule, uint64_t seed, uint64_t row, const BitGrid& grid, bool* mask,
                          Lanes lanes) {
  int64_t down = 0, right = 0;
  if (rule.shift) {
    const Words w = philox(seed, Stream::kBlockShift, row, 0);
    down = uniform_below(w.word[0], static_cast<uint64_t>(rule.height));
    right = uniform_below(w.word[1], static_cast<uint64_t>(rule.width));
  }
  grid.write(mask, down, right, lanes);
}

// `memory`: the patches, rounded up to whole counters, or null.
SSLFAST_HD void write_square_row(const SquareMask& p, uint64_t seed, int64_t r, const BitGrid& grid, uint64_t* memory,
                                 Lanes lanes) {
  const uint64_t row = p.row_ids[r];
  const int64_t patches = p.height * p.width;
  grid.clear(lanes);
  for (int64_t k = 0; k < p.squares; ++k) {
    const Words w = philox(seed, Stream::kSquare, row, static_cast<uint32_t>(k));
    const int64_t top = uniform_below(w.word[0], static_cast<uint64_t>(p.height)) - p.side / 2;
    const int64_t left = uniform_below(w.word[1], static_cast<uint64_t>(p.width)) - p.side / 2;
    const int64_t bottom = top + p.side > p.height ? p.height : top + p.side;
    const int64_t right = left + p.side > p.width ? p.width : left + p.side;
    const int64_t first_line = top < 0 ? 0 : top, first_column = left < 0 ? 0 : left;
    grid.fill({first_line, first_column, bottom - first_line, right - first_column}, lanes);
  }
  const int64_t missing = p.marked - grid.count({0, 0, p.height, p.width}, lanes);
  const bool turned = missing < 0;  // what is too many is what is missing of the others
  if (turned) grid.invert(lanes);
  if (missing != 0) {
    const DrawnPairs<Unmasked> pairs{{seed, static_cast<uint32_t>(Stream::kSquareRest), row, 0}, {grid}};
    const int64_t more = turned ? -missing : missing;
    if (memory) {
      fill_subset(grid, store_pairs(pairs, memory, patches, lanes), more, lanes);
    } else {
      fill_subset(grid, pairs, more, lanes);
    }
  }
  if (turned != p.inverse) grid.invert(lanes);
  grid.write(p.mask + r * patches, 0, 0, lanes);
}

SSLFAST_HD int64_t round_up(double a) {
  const int64_t whole = static_cast<int64_t>(a);
  return whole + (static_cast<double>(whole) < a);
}

SSLFAST_HD void write_inverse_row(const InverseBlockMask& p, uint64_t seed, int64_t r, Lanes lanes) {
  using namespace portable;
  const uint64_t row = p.row_ids[r];
  const Words w = philox(seed, Stream::kInverseBlock, row, 0);
  const double aspect = exponential(uniform(w.word[0], p.log_aspect_low, p.log_aspect_high));
  const double visible = static_cast<double>(p.visible);
  int64_t height = round_up(square_root(mul(visible, aspect))), width = round_up(square_root(div(visible, aspect)));
  height = height < p.height ? height : p.height;
  width = width < p.width ? width : p.width;
  while (height * width < p.visible) width < p.width ? ++width : ++height;
  const int64_t top = uniform_below(w.word[1], static_cast<uint64_t>(p.height - height + 1));
  const int64_t left = uniform_below(w.word[2], static_cast<uint64_t>(p.width - width + 1));
  const bool upwards = p.exact && w.word[3] >> 31, leftwards = p.exact && (w.word[3] >> 30 & 1);
  int64_t down = 0, right = 0;
  if (p.shift) {
    const Words turn = philox(seed, Stream::kInverseBlock, row, 1);
    down = uniform_below(turn.word[0], static_cast<uint64_t>(p.height));
    right = uniform_below(turn.word[1], static_cast<uint64_t>(p.width));
  }
  bool* mask = p.mask + r * p.height * p.width;
  for (int64_t y = 0; y < p.height; ++y, mask += p.width) {
    int64_t line = (y < down ? y - down + p.height : y - down) - top;
    const bool in_lines = line >= 0 && line < height;
    line = upwards ? height - 1 - line : line;
    for (int64_t x = lanes.first; x < p.width; x += lanes.step) {
      int64_t column = (x < right ? x - right + p.width : x - right) - left;
      const bool inside = in_lines && column >= 0 && column < width;
      column = leftwards ? width - 1 - column : column;
      mask[x] = !(inside && line * width + column < p.visible);
    }
  }
}

}  // namespace sslfast::blocks
