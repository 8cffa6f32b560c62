// A row and view at a time, in a thread's own working space; words are made in a loop that vectorises.
#include "sslfast/token_augment.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "../shared/token_rules.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kTokensPerThread = 8192;

SSLFAST_ISA_CLONES void make_words(uint64_t seed, Stream stream, uint64_t row, uint32_t element, int64_t counters,
                                   uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, stream, row, element + static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

struct Fill {
  void operator()(uint64_t seed, Stream stream, uint64_t row, uint32_t element, int64_t counters, uint32_t* words,
                  Lanes) const {
    make_words(seed, stream, row, element, counters, words);
  }
};

template <typename Id>
void run(const TokenAugment<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  const int64_t rows = p.rows * p.views;
  threads = static_cast<int>(std::clamp<int64_t>(rows * p.length / kTokensPerThread, 1, threads));
  const int64_t size = token_scratch_bytes(p.out_length) / 8;
  std::vector<uint64_t> scratch(threads * size);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < rows; ++i) {
    auto* memory = reinterpret_cast<uint8_t*>(scratch.data() + omp_get_thread_num() * size);
    token_rules::augment_row<Fill>(p, seed, i % p.rows, i / p.rows, memory, Lanes{0, 1});
  }
}

}  // namespace

void token_augment(const TokenAugment<int32_t>& p, int threads) { run(p, threads); }
void token_augment(const TokenAugment<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
