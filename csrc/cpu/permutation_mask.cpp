// The order of a row by sorting (word, place); then length^2 comparisons of 32-bit places, which vectorise.
#include "sslfast/permutation_mask.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "../shared/permutation_spans.h"
#include "isa.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kPairsPerThread = 256 << 10;

// One thread's working space; its size is known before the threads start.
struct Scratch {
  std::vector<uint64_t> pairs;
  std::vector<int32_t> place, hidden;  // hidden: the place of a masked token, below all of another

  explicit Scratch(int64_t length) : pairs(length), place(length), hidden(length) {}
};

template <typename Out>
inline __attribute__((always_inline)) void compare_body(const int32_t* place, const int32_t* hidden, int64_t length,
                                                        Out* out) {
  for (int64_t i = 0; i < length; ++i) {
    const int32_t mine = place[i];
    for (int64_t j = 0; j < length; ++j) out[i * length + j] = static_cast<Out>(mine <= hidden[j]);
  }
}

SSLFAST_ISA_CLONES void compare(const int32_t* place, const int32_t* hidden, int64_t length, bool* out) {
  compare_body(place, hidden, length, out);
}
SSLFAST_ISA_CLONES void compare(const int32_t* place, const int32_t* hidden, int64_t length, float* out) {
  compare_body(place, hidden, length, out);
}

template <typename Id, typename Out>
void mask_row(const PermutationMask<Id, Out>& p, uint64_t seed, int64_t r, Scratch& s) {
  const uint64_t row = p.row_ids[r];
  const Id* ids = p.ids + r * p.ids_row_stride;
  bool* mask = p.mask + r * p.length;
  const Lanes one{0, 1};
  std::fill_n(mask, p.length, false);
  permutation::set_spans(p, r, seed, row, permutation::token_range(p, r, one), mask, one);

  const int64_t ordered = p.compat ? p.length / 2 : p.length;
  for (int64_t j = 0; j < ordered; j += 4) {
    const Words w = philox(seed, Stream::kPermutationOrder, row, static_cast<uint32_t>(j / 4));
    for (int64_t k = 0; k < 4 && j + k < ordered; ++k) {
      s.pairs[j + k] = static_cast<uint64_t>(w.word[k]) << 32 | static_cast<uint64_t>(j + k);
    }
  }
  std::sort(s.pairs.begin(), s.pairs.begin() + ordered);
  for (int64_t place = 0; place < ordered; ++place) {
    const int64_t j = static_cast<uint32_t>(s.pairs[place]);
    s.place[j] = static_cast<int32_t>(place);
    if (p.compat) s.place[ordered + j] = static_cast<int32_t>(ordered + place);
  }
  for (int64_t t = 0; t < p.length; ++t) {
    const int64_t at = r * p.length + t;
    const Id id = ids[t * p.ids_stride];
    if (permutation::is_context(p, r, t, mask[t])) s.place[t] = -1;
    s.hidden[t] = mask[t] ? s.place[t] : -2;
    p.order[at] = s.place[t];
    p.masked_ids[at] = mask[t] ? p.mask_token_id : id;
    p.labels[at] = mask[t] ? id : p.ignore_index;
  }
  compare(s.place.data(), s.hidden.data(), p.length, p.perm_mask + r * p.length * p.length);
}

template <typename Id, typename Out>
void run(const PermutationMask<Id, Out>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length * p.length / kPairsPerThread, 1, threads));
  advise_huge_pages(p.perm_mask, p.rows * p.length * p.length * static_cast<int64_t>(sizeof(Out)));
  std::vector<Scratch> scratch(threads, Scratch(p.length));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) mask_row(p, seed, r, scratch[omp_get_thread_num()]);
}

}  // namespace

void permutation_mask(const PermutationMask<int32_t, bool>& p, int threads) { run(p, threads); }
void permutation_mask(const PermutationMask<int32_t, float>& p, int threads) { run(p, threads); }
void permutation_mask(const PermutationMask<int64_t, bool>& p, int threads) { run(p, threads); }
void permutation_mask(const PermutationMask<int64_t, float>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
