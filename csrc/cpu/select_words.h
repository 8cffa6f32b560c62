// The draws that select tokens: four tokens share a Philox counter, so that a loop over counters vectorises.
#pragma once

#include <cstdint>

#include "isa.h"
#include "sslfast/philox.h"

namespace sslfast::cpu {

SSLFAST_ISA_CLONES static void select_words(uint64_t seed, Stream stream, uint64_t row, int64_t first, int64_t counters,
                                            uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

}  // namespace sslfast::cpu
