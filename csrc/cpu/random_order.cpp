// The shifts of all lines are drawn first, a few for every sqrt(n) numbers. Then the places of the rectangle are taken
// some lines at a time, in loops that vectorise.
#include "random_order.h"

#include <algorithm>

#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kBlock = 1024;  // places that are taken at once: their rows and columns stay in L1

SSLFAST_ISA_CLONES void draw_shifts(const OrderDraw draw, const Rectangle r, int32_t* shifts) {
  for (int h = 0; h < r.half_rounds; h += 4) {
    for (uint32_t line = 0; line < r.height; ++line) {
      const Words w = philox(draw.seed, draw.stream, draw.row, draw.first + h / 4 * r.height + line);
      for (int k = 0; k < 4; ++k) {
        shifts[(h + k) * r.height + line] = static_cast<int32_t>(uniform_below(w.word[k], r.side(k)));
      }
    }
  }
}

// The numbers at the places of some lines of the rectangle, from `row` on; `rows` is working space of as many.
SSLFAST_ISA_CLONES void number_lines(const Rectangle r, const int32_t* shifts, int32_t row, int32_t lines,
                                     int32_t* __restrict rows, int32_t* __restrict numbers) {
  const auto height = static_cast<int32_t>(r.height), width = static_cast<int32_t>(r.width), n = lines * width;
  for (int32_t line = 0; line < lines; ++line) {
    for (int32_t c = 0; c < width; ++c) {
      const int32_t moved = row + line + shifts[c];
      rows[line * width + c] = moved >= height ? moved - height : moved;
      numbers[line * width + c] = c;
    }
  }
  for (int h = 1; h < r.half_rounds; h += 2) {
    const int32_t *across = shifts + h * height, *down = across + height;
    for (int32_t i = 0; i < n; ++i) {
      int32_t column = numbers[i] + across[rows[i]];
      column = column >= width ? column - width : column;
      const int32_t moved = rows[i] + down[column];
      rows[i] = moved >= height ? moved - height : moved;
      numbers[i] = column;
    }
  }
  for (int32_t i = 0; i < n; ++i) numbers[i] += rows[i] * width;
}

}  // namespace

void RandomOrder::draw(const OrderDraw& draw, int64_t n, int32_t* numbers) {
  if (n <= kShuffled) {
    uint8_t order[kShuffled];
    shuffle(draw, static_cast<int>(n), order, 1);
    std::copy_n(order, n, numbers);
    return;
  }
  const Rectangle r(n);
  const int64_t width = r.width, lines = std::max<int64_t>(1, kBlock / width), block = lines * width;
  const auto grown = [](std::vector<int32_t>& memory, int64_t size) {
    if (static_cast<int64_t>(memory.size()) < size) memory.resize(size);
    return memory.data();
  };
  int32_t* shifts = grown(shifts_, (r.half_rounds + 3) / 4 * 4 * static_cast<int64_t>(r.height));
  int32_t* rows = grown(block_, 2 * block);
  draw_shifts(draw, r, shifts);
  const StoredShifts stored{shifts, r.height};
  for (int64_t first = 0; first < n; first += block) {
    const int64_t end = std::min(block, n - first);
    int32_t* found = end == block ? numbers + first : rows + block;  // the last lines may have places beyond n
    const auto here = static_cast<int32_t>((end + width - 1) / width);
    number_lines(r, shifts, static_cast<int32_t>(first / width), here, rows, found);
    for (int64_t i = 0; i < end; ++i) {
      const auto number = static_cast<uint32_t>(found[i]);
      numbers[first + i] = static_cast<int32_t>(number < r.n ? number : number_at(r, stored, number));
    }
  }
}

}  // namespace sslfast::cpu
