// The order of a row: its keys are uniform, so a counting pass into as many buckets as patches leaves each key within
// a step or two of its place, and one insertion sort over (key, index) pairs finishes in linear time. The copies are
// whole rows of bytes; zero rows of the backward are written in the same pass as the others.
#include "sslfast/patch_mask.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "isa.h"
#include "large_output.h"

namespace sslfast::cpu {
namespace {

SSLFAST_ISA_CLONES void draw_keys(uint64_t seed, uint64_t row, int64_t counters, uint32_t* keys) {
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kPatchOrder, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) keys[4 * i + k] = w.word[k];
  }
}

// One thread's working space; its size is known before the threads start.
struct Scratch {
  std::vector<uint32_t> keys, ends;
  std::vector<uint64_t> pairs;

  explicit Scratch(int64_t patches) : keys((patches + 3) / 4 * 4), ends(patches + 1), pairs(patches) {}
};

void order_row(const PatchMask& p, uint64_t seed, int64_t r, Scratch& s) {
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
  for (int64_t place = 0; place < n; ++place) {
    const int64_t l = static_cast<uint32_t>(s.pairs[place]);
    if (place < p.keep) p.ids_keep[r * p.keep + place] = l;
    p.ids_restore[r * n + l] = place;
    p.mask[r * n + l] = place >= p.keep;
  }
}

// A thread that has less than this to do costs more than it saves.
constexpr int64_t kPatchesPerThread = 8 << 10;
constexpr int64_t kBytesPerThread = 256 << 10;

int team(int64_t work, int64_t work_per_thread, int threads) {
  return static_cast<int>(std::clamp<int64_t>(work / work_per_thread, 1, threads));
}

// Row i of `out` is source(i), or zero where that is null. Element is an unsigned integer of the element's size: only
// bytes are moved.
template <typename Element, typename Source>
void write_rows(void* out, int64_t rows, int64_t width, int64_t stride, int threads, Source source) {
  const int64_t bytes = width * sizeof(Element);
#pragma omp parallel num_threads(team(rows* bytes, kBytesPerThread, threads)) if (threads > 1)
  {
    const int64_t first = rows * omp_get_thread_num() / omp_get_num_threads();
    const int64_t last = rows * (omp_get_thread_num() + 1) / omp_get_num_threads();
    Element* to = static_cast<Element*>(out) + first * width;
    const LargeOutput memory = prepare_large_output(to, (last - first) * bytes);
    for (int64_t i = first; i < last; ++i, to += width) {
      const Element* from = source(i);
      if (!from && memory.is_zero(to, bytes)) continue;
      if (memory.streamed && (stride == 1 || !from)) {
        stream(to, from, bytes);
      } else if (!from) {
        std::memset(to, 0, bytes);
      } else if (stride == 1) {
        std::memcpy(to, from, bytes);
      } else {
        for (int64_t d = 0; d < width; ++d) to[d] = from[d * stride];
      }
    }
    stream_fence();
  }
}

template <typename Element>
void gather(const PatchGather& p, int threads) {
  write_rows<Element>(p.out, p.rows * p.keep, p.width, p.x_stride, threads, [&](int64_t i) {
    return static_cast<const Element*>(p.x) + i / p.keep * p.x_row_stride + p.ids_keep[i] * p.x_patch_stride;
  });
}

template <typename Element>
void scatter(const PatchScatter& p, int threads) {
  write_rows<Element>(p.out, p.rows * p.patches, p.width, p.grad_stride, threads, [&](int64_t i) -> const Element* {
    const int64_t place = p.ids_restore[i];
    if (place >= p.keep) return nullptr;
    return static_cast<const Element*>(p.grad) + i / p.patches * p.grad_row_stride + place * p.grad_patch_stride;
  });
}

}  // namespace

void patch_mask(const PatchMask& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = team(p.rows * p.patches, kPatchesPerThread, threads);
  std::vector<Scratch> scratch(threads, Scratch(p.patches));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) order_row(p, seed, r, scratch[omp_get_thread_num()]);
}

void patch_gather(const PatchGather& p, int threads) {
  switch (p.element_size) {
    case 1:
      return gather<uint8_t>(p, threads);
    case 2:
      return gather<uint16_t>(p, threads);
    case 4:
      return gather<uint32_t>(p, threads);
    default:
      return gather<uint64_t>(p, threads);
  }
}

void patch_scatter(const PatchScatter& p, int threads) {
  switch (p.element_size) {
    case 1:
      return scatter<uint8_t>(p, threads);
    case 2:
      return scatter<uint16_t>(p, threads);
    case 4:
      return scatter<uint32_t>(p, threads);
    default:
      return scatter<uint64_t>(p, threads);
  }
}

}  // namespace sslfast::cpu
