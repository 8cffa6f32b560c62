// The order of a row: drawn keys are uniform, so a counting pass into as many buckets as patches leaves each key within
// a step or two of its place, and one insertion sort over (key, index) pairs finishes in linear time. Given noise may
// be anything: its pairs are sorted by comparisons.
#include "sslfast/patch_mask.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "copy_rows.h"
#include "isa.h"
#include "shared/noise_key.h"

namespace sslfast::cpu {
namespace {

SSLFAST_ISA_CLONES void draw_keys(uint64_t seed, uint64_t row, int64_t counters, uint32_t* keys) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kPatchOrder, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) keys[4 * i + k] = w.word[k];
  }
}

struct WidePair {
  uint64_t key;
  uint32_t patch;
  bool operator<(const WidePair& other) const { return key != other.key ? key < other.key : patch < other.patch; }
};

// One thread's working space; its size is known before the threads start. A pair holds the patch in its low half.
struct Scratch {
  std::vector<uint32_t> keys, ends;
  std::vector<uint64_t> pairs;
  std::vector<WidePair> wide_pairs;

  explicit Scratch(const PatchMask& p)
      : keys(p.noise ? 0 : (p.patches + 3) / 4 * 4),
        ends(p.noise ? 0 : p.patches + 1),
        pairs(p.patches),
        wide_pairs(p.noise && p.noise_is_double ? p.patches : 0) {}
};

void order_by_draws(const PatchMask& p, uint64_t seed, int64_t r, Scratch& s) {
  const int64_t n = p.patches;
  draw_keys(seed, p.row_ids[r], (n + 3) / 4, s.keys.data());
  std::fill(s.ends.begin(), s.ends.end(), 0u);
  for (int64_t l = 0; l < n; ++l) ++s.ends[uniform_below(s.keys[l], n) + 1];
  for (int64_t b = 0; b < n; ++b) s.ends[b + 1] += s.ends[b];
  for (int64_t l = 0; l < n; ++l) {
    s.pairs[s.ends[uniform_below(s.keys[l], n)]++] = static_cast<uint64_t>(s.keys[l]) << 32 | static_cast<uint64_t>(l);
  }
  for (int64_t i = 1; i < n; ++i) {
    const uint64_t pair = s.pairs[i];
    int64_t j = i;
    for (; j > 0 && s.pairs[j - 1] > pair; --j) s.pairs[j] = s.pairs[j - 1];
    s.pairs[j] = pair;
  }
}

void order_by_noise(const PatchMask& p, int64_t r, Scratch& s) {
  const int64_t n = p.patches, first = r * p.noise_row_stride;
  if (!p.noise_is_double) {
    const float* noise = static_cast<const float*>(p.noise) + first;
    for (int64_t l = 0; l < n; ++l) {
      s.pairs[l] = static_cast<uint64_t>(noise_key(noise[l * p.noise_stride])) << 32 | static_cast<uint64_t>(l);
    }
    std::sort(s.pairs.begin(), s.pairs.end());
    return;
  }
  const double* noise = static_cast<const double*>(p.noise) + first;
  for (int64_t l = 0; l < n; ++l) s.wide_pairs[l] = {noise_key(noise[l * p.noise_stride]), static_cast<uint32_t>(l)};
  std::sort(s.wide_pairs.begin(), s.wide_pairs.end());
  for (int64_t l = 0; l < n; ++l) s.pairs[l] = s.wide_pairs[l].patch;
}

void write_row(const PatchMask& p, int64_t r, const uint64_t* pairs) {
  const int64_t kept = p.prefix + p.keep, length = p.prefix + p.patches;
  int64_t* ids_keep = p.ids_keep + r * kept;
  int64_t* ids_restore = p.ids_restore + r * length;
  bool* mask = p.mask + r * length;
  for (int64_t l = 0; l < p.prefix; ++l) {
    ids_keep[l] = ids_restore[l] = l;
    mask[l] = false;
  }
  if (!p.ascending) {
    for (int64_t place = p.prefix; place < length; ++place) {
      const int64_t l = p.prefix + static_cast<uint32_t>(pairs[place - p.prefix]);
      if (place < kept) ids_keep[place] = l;
      ids_restore[l] = place;
      mask[l] = place >= kept;
    }
    return;
  }
  for (int64_t place = p.prefix; place < length; ++place) {
    mask[p.prefix + static_cast<uint32_t>(pairs[place - p.prefix])] = place >= kept;
  }
  int64_t stays = p.prefix, goes = kept;
  for (int64_t l = p.prefix; l < length; ++l) {
    if (!mask[l]) ids_keep[stays] = l;
    ids_restore[l] = mask[l] ? goes++ : stays++;
  }
}

constexpr int64_t kPatchesPerThread = 8 << 10;

}  // namespace

void patch_mask(const PatchMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = team(p.rows * p.patches, kPatchesPerThread, threads);
  std::vector<Scratch> scratch(threads, Scratch(p));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) {
    Scratch& s = scratch[omp_get_thread_num()];
    p.noise ? order_by_noise(p, r, s) : order_by_draws(p, seed, r, s);
    write_row(p, r, s.pairs.data());
  }
}

}  // namespace sslfast::cpu
