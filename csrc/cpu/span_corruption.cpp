// One pass over the tokens. The draws of a chunk are made first, four tokens per Philox counter, in a loop that
// vectorises; the walk that follows writes each token to the one output that it belongs to.
#include "sslfast/span_corruption.h"

#include <algorithm>

#include "../shared/span_corruption_walk.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kChunk = 1024;            // tokens; 4 KiB of draws stay in L1
constexpr int64_t kTokensPerThread = 8192;  // about 30 us; waking a thread costs a few

SSLFAST_ISA_CLONES void walk_words(uint64_t seed, uint64_t row, int64_t first, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kSpanCorruption, row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

// The end of a row of fixed size: what lies beyond it is dropped.
template <typename Id>
struct Slots {
  Id* slots;
  int64_t size, used;

  void push(Id id) {
    if (used < size) slots[used] = id;
    ++used;
  }
};

template <typename Id>
void corrupt_row(const SpanCorruption<Id>& p, uint64_t seed, int64_t r) {
  const uint64_t row = p.row_ids[r];
  const Id* ids = p.ids + r * p.ids_row_stride;
  const int64_t length = p.lengths ? std::clamp<int64_t>(p.lengths[r], 0, p.length) : p.length;
  Slots<Id> inputs{p.inputs + r * p.input_length, p.input_length, 0};
  Slots<Id> targets{p.targets + r * p.target_length, p.target_length, 0};
  spans::Walk walk(length, spans::counts(length, p.noise_density, p.mean_span, p.anywhere), p.anywhere);
  int64_t sentinel = p.sentinel;
  uint32_t words[kChunk];
  for (int64_t first = 0; first < length; first += kChunk) {
    const int64_t n = std::min(kChunk, length - first);
    walk_words(seed, row, first, (n + 3) / 4, words);
    for (int64_t i = 0; i < n; ++i) {
      if (walk.step(words[i])) {
        inputs.push(static_cast<Id>(sentinel));
        targets.push(static_cast<Id>(sentinel));
        sentinel += p.sentinel_step;
      }
      (walk.in_noise ? targets : inputs).push(ids[(first + i) * p.ids_stride]);
    }
  }
  if (p.append_eos) {
    inputs.push(p.eos);
    targets.push(p.eos);
  }
  p.input_lengths[r] = inputs.used;
  while (inputs.used < inputs.size) inputs.push(p.pad);
  while (targets.used < targets.size) targets.push(p.ignore_index);
}

template <typename Id>
void run(const SpanCorruption<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kTokensPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) corrupt_row(p, seed, r);
}

}  // namespace

void span_corruption(const SpanCorruption<int32_t>& p, int threads) { run(p, threads); }
void span_corruption(const SpanCorruption<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
