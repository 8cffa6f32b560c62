#include "sslfast/philox_words.h"

#include "isa.h"

namespace sslfast::cpu {

SSLFAST_ISA_CLONES static void fill_row(const PhiloxWords& p, uint64_t seed, int64_t row) {
  int32_t* out = p.out + row * p.elements * 4;
  for (int64_t e = 0; e < p.elements; ++e) {
    const Words words = philox(seed, p.stream, static_cast<uint64_t>(p.row_offset + row), static_cast<uint32_t>(e));
    for (int w = 0; w < 4; ++w) out[e * 4 + w] = static_cast<int32_t>(words.word[w]);
  }
}

void philox_words(const PhiloxWords& p, int threads) {
  const uint64_t seed = p.seed.get();
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < p.rows; ++row) fill_row(p, seed, row);
}

}  // namespace sslfast::cpu
