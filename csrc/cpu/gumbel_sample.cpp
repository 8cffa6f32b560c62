// A chunk of the row at a time: its draws, then its logits as floats, then blocks whose bounds are compared at once;
// the few ids that may win are scored. All loops over a chunk vectorise.
#include "sslfast/gumbel_sample.h"

#include <algorithm>

#include "../shared/gumbel_score.h"
#include "element_types.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

using gumbel::Best;

constexpr int64_t kChunk = 1024;  // ids: 8 KiB of draws and logits
constexpr int64_t kBlock = 64;    // ids whose bounds are compared at once
constexpr int64_t kIdsPerThread = 16 << 10;

struct Row {
  uint64_t seed, row;
  double inverse_temperature;
  int64_t vocabulary;
};

// The ids [first, first + kChunk) of a row, filled up with -inf. Whether a logit among them is NaN or +inf.
inline __attribute__((always_inline)) bool sample_chunk(const Row& row, int64_t first, const float* logits,
                                                        uint32_t* words, Best& best) {
  for (int64_t i = 0; i < kChunk / 4; ++i) {
    const Words w = philox(row.seed, Stream::kGumbel, row.row, static_cast<uint32_t>(first / 4 + i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
  const float inverse_temperature = static_cast<float>(row.inverse_temperature);
  float bar = best.id < 0 ? -gumbel::kInfinity : gumbel::bar(best.score);
  int bad = 0;
  for (int64_t block = 0; block < kChunk; block += kBlock) {
    int any = 0;
    for (int64_t i = block; i < block + kBlock; ++i) {
      bad |= !(logits[i] < gumbel::kInfinity);
      any |= gumbel::may_win(logits[i], words[i], inverse_temperature, bar);
    }
    if (!any) continue;
    for (int64_t i = block; i < block + kBlock; ++i) {
      if (!gumbel::may_win(logits[i], words[i], inverse_temperature, bar)) continue;
      const double score = gumbel::score(logits[i], words[i], row.inverse_temperature);
      if (!best.worse_than(score, first + i)) continue;
      best = {score, first + i};
      bar = gumbel::bar(score);
    }
  }
  return bad;
}

// Of contiguous logits; the others are gathered by the compiler's plain loop.
template <typename In>
inline __attribute__((always_inline)) int64_t sample_body(const In* logits, int64_t stride, const Row& row) {
  alignas(64) float chunk[kChunk];
  alignas(64) uint32_t words[kChunk];
  Best best{0.0, -1};
  bool bad = false;
  for (int64_t first = 0; first < row.vocabulary; first += kChunk) {
    const int64_t n = std::min(kChunk, row.vocabulary - first);
    if (stride == 1) {
      for (int64_t i = 0; i < n; ++i) chunk[i] = widen(logits[first + i]);
    } else {
      for (int64_t i = 0; i < n; ++i) chunk[i] = widen(logits[(first + i) * stride]);
    }
    std::fill(chunk + n, chunk + kChunk, -gumbel::kInfinity);
    bad |= sample_chunk(row, first, chunk, words, best);
  }
  return bad ? -1 : best.id;
}

SSLFAST_ISA_CLONES int64_t sample_row(const float* logits, int64_t stride, const Row& row) {
  return sample_body(logits, stride, row);
}
SSLFAST_ISA_CLONES int64_t sample_row(const Brain16* logits, int64_t stride, const Row& row) {
  return sample_body(logits, stride, row);
}
SSLFAST_ISA_CLONES int64_t sample_row(const Half16* logits, int64_t stride, const Row& row) {
  return sample_body(logits, stride, row);
}

template <typename In>
void run(const GumbelSample<In>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.vocabulary / kIdsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    const Row row{seed, p.row_ids[r], p.inverse_temperature, p.vocabulary};
    const bool skipped = p.positions && p.positions[r] < 0;
    p.ids[r] = skipped ? -1 : sample_row(p.logits + r * p.row_stride, p.stride, row);
  }
}

}  // namespace

void gumbel_sample(const GumbelSample<float>& p, int threads) { run(p, threads); }
void gumbel_sample(const GumbelSample<Brain16>& p, int threads) { run(p, threads); }
void gumbel_sample(const GumbelSample<Half16>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
