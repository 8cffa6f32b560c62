// Row by row: the true frames are listed, then each of them draws a block of words and looks the drawn ranks up in the
// list, in loops that vectorise. Its own rank is skipped by moving the ranks from there on up by one.
#include "sslfast/negative_indices.h"

#include <algorithm>
#include <vector>

#include "isa.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kIndicesPerThread = 16 << 10;

SSLFAST_ISA_CLONES void draw_words(uint64_t seed, uint64_t row, uint32_t first, int64_t counters, uint32_t* words) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kNegatives, row, first + static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
}

// The list ends before rank `others`, the number of true frames beside this one.
template <typename Index>
inline __attribute__((always_inline)) void look_up(const uint32_t* words, int64_t n, uint32_t others, uint32_t rank,
                                                   const int32_t* frames, Index base, Index* out) {
  for (int64_t k = 0; k < n; ++k) {
    uint32_t drawn = uniform_below(words[k], others);
    drawn += drawn >= rank;
    out[k] = base + frames[static_cast<int32_t>(drawn)];
  }
}

SSLFAST_ISA_CLONES void write_negatives(const uint32_t* words, int64_t n, uint32_t others, uint32_t rank,
                                        const int32_t* frames, int32_t base, int32_t* out) {
  look_up(words, n, others, rank, frames, base, out);
}

SSLFAST_ISA_CLONES void write_negatives(const uint32_t* words, int64_t n, uint32_t others, uint32_t rank,
                                        const int32_t* frames, int64_t base, int64_t* out) {
  look_up(words, n, others, rank, frames, base, out);
}

template <typename Index>
void draw_row(const NegativeIndices<Index>& p, uint64_t seed, int64_t r, std::vector<uint32_t>& words) {
  const bool* mask = p.mask + r * p.row_stride;
  int32_t* frames = p.frames + r * p.length;
  int64_t count = 0;
  for (int64_t t = 0; t < p.length; ++t) {
    if (mask[t * p.stride]) frames[count++] = static_cast<int32_t>(t);
  }
  p.counts[r] = count;
  const int64_t counters = (p.negatives + 3) / 4;
  const Index base = static_cast<Index>(r * p.length);
  Index* out = p.out + r * p.length * p.negatives;
  int64_t next = 0, rank = 0;
  const auto fill_to = [&](int64_t t, Index value) {
    std::fill(out + next * p.negatives, out + t * p.negatives, value);
    next = t;
  };
  for (; rank < count; ++rank) {
    const int64_t t = frames[rank];
    fill_to(t, base);
    if (count == 1) {
      fill_to(t + 1, base + static_cast<Index>(t));
      break;
    }
    draw_words(seed, p.row_ids[r], static_cast<uint32_t>(t * counters), counters, words.data());
    write_negatives(words.data(), p.negatives, static_cast<uint32_t>(count - 1), static_cast<uint32_t>(rank), frames,
                    base, out + t * p.negatives);
    next = t + 1;
  }
  fill_to(p.length, base);
}

template <typename Index>
void run(const NegativeIndices<Index>& p, int threads) {
  const uint64_t seed = p.seed.get();
  advise_huge_pages(p.out, p.rows * p.length * p.negatives * static_cast<int64_t>(sizeof(Index)));
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length * p.negatives / kIndicesPerThread, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<uint32_t> words((p.negatives + 3) / 4 * 4);
#pragma omp for
    for (int64_t r = 0; r < p.rows; ++r) draw_row(p, seed, r, words);
  }
}

}  // namespace

void negative_indices(const NegativeIndices<int32_t>& p, int threads) { run(p, threads); }
void negative_indices(const NegativeIndices<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
