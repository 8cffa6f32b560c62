// A random order of n numbers, in which the number at any place, and the place of any number, is found without the
// others: what a GPU's threads do at once, and what lets a kernel that moves rows find its own.
//
// Up to kShuffled numbers: Fisher and Yates' shuffle, every order equally likely. Beyond, n lies in a rectangle whose
// rows and columns are shifted in turn (a Feistel network: Luby and Rackoff, 1988): each column by a random amount of
// its own, then each row, and so on. A shift has an inverse, so what comes out is an order of the rectangle. A number
// that lands beyond n goes round again; this ends, because an order has cycles: after less than `height` rounds more,
// and one number in sqrt(n) takes one. A number is uniform over the rectangle after two half rounds. Two numbers are
// apart by a uniform distance but for those that no half round has told apart yet, which has the probability
// width^-(half rounds / 2): there are as many as bring it below 2^-24, the grain of a float's uniform. The height is
// even, so that odd orders of the rectangle come as often as even ones. Not all n! orders come: 2^64 seeds do not name
// them.
#pragma once

#include "portable_double.h"

namespace sslfast {

constexpr int64_t kShuffled = 64;

// Counters from `first` on, at most 2^20 of them.
struct OrderDraw {
  uint64_t seed;
  Stream stream;
  uint64_t row;
  uint32_t first;
};

// Step k of the shuffle, from the end, draws word k % 4 of counter k / 4. Number i of the order is order[i * stride].
SSLFAST_HD void shuffle(const OrderDraw& d, int n, uint8_t* order, int stride) {
  for (int i = 0; i < n; ++i) order[i * stride] = static_cast<uint8_t>(i);
  for (int k = 0; k < n - 1; k += 4) {
    const Words w = philox(d.seed, d.stream, d.row, d.first + static_cast<uint32_t>(k / 4));
    for (int j = 0; j < 4; ++j) {
      const int last = n - 1 - k - j;
      if (last <= 0) break;
      const int other = static_cast<int>(uniform_below(w.word[j], static_cast<uint64_t>(last) + 1));
      const uint8_t moved = order[last * stride];
      order[last * stride] = order[other * stride];
      order[other * stride] = moved;
    }
  }
}

SSLFAST_HD uint32_t shuffled_place(const uint8_t* order, int stride, uint32_t number) {
  uint32_t place = 0;
  while (order[place * stride] != number) ++place;
  return place;
}

struct Rectangle {
  uint32_t n, height, width;
  int half_rounds;

  SSLFAST_HD explicit Rectangle(int64_t numbers) : n(static_cast<uint32_t>(numbers)) {
    height = static_cast<uint32_t>(portable::square_root(static_cast<double>(numbers)));
    while (static_cast<int64_t>(height) * height < numbers) ++height;
    height += height & 1;
    width = (n + height - 1) / height;
    half_rounds = 1;
    for (uint64_t reach = 1; reach < uint64_t{1} << 24; reach *= width) half_rounds += 2;
  }

  SSLFAST_HD uint32_t side(int half_round) const { return half_round % 2 ? width : height; }
};

// By how much a half round shifts a line: word h % 4 of counter (h / 4) height + line.
struct DrawnShifts {
  OrderDraw draw;
  Rectangle sides;

  SSLFAST_HD uint32_t operator()(int half_round, uint32_t line) const {
    const Words w = philox(draw.seed, draw.stream, draw.row, draw.first + half_round / 4 * sides.height + line);
    const uint32_t even = half_round & 2 ? w.word[2] : w.word[0], odd = half_round & 2 ? w.word[3] : w.word[1];
    return uniform_below(half_round & 1 ? odd : even, sides.side(half_round));
  }
};

// The same, drawn before: (half rounds, height).
struct StoredShifts {
  const int32_t* shifts;
  uint32_t height;

  SSLFAST_HD uint32_t operator()(int half_round, uint32_t line) const {
    return static_cast<uint32_t>(shifts[half_round * height + line]);
  }
};

template <typename Shifts>
SSLFAST_HD uint32_t number_at(const Rectangle& r, const Shifts& shift, uint32_t place) {
  do {
    uint32_t row = place / r.width, column = place % r.width;
    for (int h = 0;; h += 2) {
      row += shift(h, column);
      row -= row >= r.height ? r.height : 0;
      if (h + 1 == r.half_rounds) break;
      column += shift(h + 1, row);
      column -= column >= r.width ? r.width : 0;
    }
    place = row * r.width + column;
  } while (place >= r.n);
  return place;
}

template <typename Shifts>
SSLFAST_HD uint32_t place_of(const Rectangle& r, const Shifts& shift, uint32_t number) {
  do {
    uint32_t row = number / r.width, column = number % r.width;
    for (int h = r.half_rounds - 1;; h -= 2) {
      const uint32_t down = shift(h, column);
      row = row >= down ? row - down : row + r.height - down;
      if (h == 0) break;
      const uint32_t across = shift(h - 1, row);
      column = column >= across ? column - across : column + r.width - across;
    }
    number = row * r.width + column;
  } while (number >= r.n);
  return number;
}

// The number at a place, by a thread that has nothing but the draws.
SSLFAST_HD uint32_t number_at(const OrderDraw& d, int64_t n, uint32_t place) {
  if (n > kShuffled) {
    const Rectangle sides(n);
    return number_at(sides, DrawnShifts{d, sides}, place);
  }
  uint8_t order[kShuffled];
  shuffle(d, static_cast<int>(n), order, 1);
  return order[place];
}

}  // namespace sslfast
