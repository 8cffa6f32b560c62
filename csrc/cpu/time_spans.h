// What the two kernels of time spans do to the cells of a row.
#pragma once

#include <cstring>

#include "isa.h"
#include "shared/time_span_rules.h"

namespace sslfast::cpu::time_spans {

// Up to 16 frames, the usual length, by two words that may overlap: a loop costs more than they do.
inline void fill_span(uint8_t* cells, int64_t n) {
  constexpr uint64_t kEight = 0x0101010101010101u * time_span::kMasked;
  if (n > 16) {
    std::memset(cells, time_span::kMasked, n);
  } else if (n >= 8) {
    std::memcpy(cells, &kEight, 8);
    std::memcpy(cells + n - 8, &kEight, 8);
  } else {
    for (int64_t i = 0; i < n; ++i) cells[i] = time_span::kMasked;
  }
}

// The first 4 * counters words of a row.
SSLFAST_ISA_CLONES static void draw_words(uint64_t seed, Stream stream, uint64_t row, int64_t counters,
                                          uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

}  // namespace sslfast::cpu::time_spans
