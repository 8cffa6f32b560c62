// A grid of patches as bits, 64 columns a word, and rectangles in it. Lanes share the lines of a rectangle; a lane sees
// what another wrote after a barrier.
#pragma once

#include "lanes.h"

namespace sslfast {

struct Rectangle {
  int64_t top, left, height, width;
};

SSLFAST_HD int64_t words_per_line(int64_t width) { return (width + 63) / 64; }

// The columns [left, right) that fall into word number `word` of a line.
SSLFAST_HD uint64_t span_bits(int64_t left, int64_t right, int64_t word) {
  const int64_t low = left - 64 * word < 0 ? 0 : left - 64 * word;
  const int64_t high = right - 64 * word > 64 ? 64 : right - 64 * word;
  if (high <= low) return 0;
  return (~uint64_t{0} >> (64 - (high - low))) << low;
}

struct BitGrid {
  uint64_t* bits;
  int64_t height, width, words;

  SSLFAST_HD void clear(Lanes lanes) const {
    for (int64_t i = lanes.first; i < height * words; i += lanes.step) bits[i] = 0;
    lane_barrier();
  }

  // Every bit turned over; what lies behind a line's last column stays 0.
  SSLFAST_HD void invert(Lanes lanes) const {
    for (int64_t i = lanes.first; i < height * words; i += lanes.step) bits[i] ^= span_bits(0, width, i % words);
    lane_barrier();
  }

  SSLFAST_HD bool get(int64_t y, int64_t x) const { return bits[y * words + x / 64] >> (x % 64) & 1; }

  SSLFAST_HD int count(const Rectangle& r, Lanes lanes) const {
    int found = 0;
    for (int64_t word = r.left / 64; word <= (r.left + r.width - 1) / 64; ++word) {
      const uint64_t span = span_bits(r.left, r.left + r.width, word);
      for (int64_t y = r.top + lanes.first; y < r.top + r.height; y += lanes.step) {
        found += count_bits(bits[y * words + word] & span);
      }
    }
    return lane_sum(found);
  }

  SSLFAST_HD void fill(const Rectangle& r, Lanes lanes) const {
    for (int64_t word = r.left / 64; word <= (r.left + r.width - 1) / 64; ++word) {
      const uint64_t span = span_bits(r.left, r.left + r.width, word);
      for (int64_t y = r.top + lanes.first; y < r.top + r.height; y += lanes.step) bits[y * words + word] |= span;
    }
    lane_barrier();
  }

  // Every bit as a byte of `out` (height, width), `down` lines lower and `right` columns to the right, around the
  // edges.
  SSLFAST_HD void write(bool* out, int64_t down, int64_t right, Lanes lanes) const {
    for (int64_t y = 0; y < height; ++y, out += width) {
      const int64_t from = y < down ? y - down + height : y - down;
      if (words == 1) {
        const uint64_t line = bits[from];
        const uint64_t turned = right == 0 ? line : line << right | line >> (width - right);
        for (int64_t x = lanes.first; x < width; x += lanes.step) out[x] = turned >> x & 1;
      } else {
        for (int64_t x = lanes.first; x < width; x += lanes.step) {
          out[x] = get(from, x < right ? x - right + width : x - right);
        }
      }
    }
  }
};

}  // namespace sslfast
