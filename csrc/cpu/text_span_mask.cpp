// The mask's own row holds the state while spans are drawn; one pass then writes ids, labels and the mask.
#include "sslfast/text_span_mask.h"

#include <algorithm>

#include "../shared/text_span_choice.h"
#include "id_range.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kTokensPerThread = 8192;

template <typename Id>
void mask_row(const TextSpanMask<Id>& p, uint64_t seed, int64_t r, Id& strayed_id) {
  using namespace text_spans;
  const uint64_t row = p.row_ids[r];
  const Id* ids = p.ids + r * p.ids_row_stride;
  Id* out = p.masked_ids + r * p.length;
  Id* labels = p.labels + r * p.length;
  auto* state = reinterpret_cast<uint8_t*>(p.mask + r * p.length);
  int64_t low = p.length, high = 0, maskable = 0;
  if (!p.special && !p.word_ids) {
    std::fill_n(state, p.length, uint8_t{kMaskable});
    low = 0;
    high = maskable = p.length;
  } else {
    for (int64_t t = 0; t < p.length; ++t) {
      state[t] = token_state(p, r, t);
      if (!state[t]) continue;
      ++maskable;
      low = std::min(low, t);
      high = t + 1;
    }
  }
  choose(state, low, high, budget(maskable, p.mask_ratio), p.lengths, seed, row);
  Id stray = 0;
  for (int64_t t = 0; t < p.length; ++t) {
    const Id id = ids[t * p.ids_stride];
    stray = strayed(stray, id, p.last_id);
    out[t] = id;
  }
  strayed_id |= stray;
  std::fill_n(labels, p.length, p.ignore_index);
  int64_t key = 0;
  for (int64_t t = 0; t < p.length; ++t) {
    state[t] &= kMasked;
    if (!state[t]) continue;
    if (!p.per_span || t == 0 || !state[t - 1]) key = t;
    labels[t] = out[t];
    out[t] = replacement(p, seed, row, key, t, out[t]);
  }
}

template <typename Id>
void run(const TextSpanMask<Id>& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows * p.length / kTokensPerThread, 1, threads));
  Id stray = 0;
#pragma omp parallel for num_threads(threads) if (threads > 1) reduction(| : stray)
  for (int64_t r = 0; r < p.rows; ++r) mask_row(p, seed, r, stray);
  if (stray < 0) refuse_ids("mask_spans", p);
}

}  // namespace

void text_span_mask(const TextSpanMask<int32_t>& p, int threads) { run(p, threads); }
void text_span_mask(const TextSpanMask<int64_t>& p, int threads) { run(p, threads); }

}  // namespace sslfast::cpu
