// Image by image: its box is drawn, or read, then each line is copied, if it has to be, but for its part of the box,
// which is filled. In place nothing is read, and only boxes are written.
#include "sslfast/random_erase.h"

#include <algorithm>
#include <vector>

#include "../shared/portable_normal.h"
#include "../shared/random_erase_sample.h"
#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kGroup = 4;  // pixels of a line that share a counter

// Noise of the groups [first, end) of a line; `line` is the line's first counter.
SSLFAST_ISA_CLONES void noise_groups(uint64_t key, uint32_t line, int64_t first, int64_t end, float* out) {
  for (int64_t g = first; g < end; ++g, out += kGroup) {
    const Words w = philox(key, Stream::kEraseNoise, 0, line + static_cast<uint32_t>(g));
    const normal::Pair a = normal::normal_pair(w.word[0], w.word[1]), b = normal::normal_pair(w.word[2], w.word[3]);
    out[0] = a.first;
    out[1] = a.second;
    out[2] = b.first;
    out[3] = b.second;
  }
}

template <typename T>
T narrowed(double value) {
  T out;
  narrow(static_cast<Wide<T>>(value), out);
  return out;
}

template <typename T>
void fill_values(const RandomErase& p, int64_t plane, int64_t left, int64_t right, T* to) {
  const int64_t unit = p.to.unit;
  if (unit == 1 || p.value_count == 1) {
    std::fill(to + left, to + right, narrowed<T>(p.values[p.value_count == 1 ? 0 : plane]));
    return;
  }
  for (int64_t e = left; e < right; e += unit) {
    for (int64_t c = 0; c < unit; ++c) to[e + c] = narrowed<T>(p.values[c]);
  }
}

template <typename T>
void fill_noise(const RandomErase& p, uint64_t key, int64_t plane, int64_t y, int64_t left, int64_t right, T* to,
                std::vector<float>& memory) {
  const int64_t unit = p.to.unit, groups = (p.to.line / unit + kGroup - 1) / kGroup;
  const int64_t first = left / unit / kGroup, end = (right / unit + kGroup - 1) / kGroup;
  memory.resize((end - first) * kGroup);
  for (int64_t c = 0; c < unit; ++c) {
    const int64_t channel = unit == 1 ? plane : c;
    noise_groups(key, static_cast<uint32_t>((channel * p.to.height + y) * groups), first, end, memory.data());
    const float* noise = memory.data() - first * kGroup;
    for (int64_t x = left / unit; x < right / unit; ++x) narrow(static_cast<Wide<T>>(noise[x]), to[x * unit + c]);
  }
}

template <typename T>
void erase_image(const RandomErase& p, int64_t r, bool streamed, std::vector<float>& memory) {
  const float* params = p.params + r * kEraseColumns;
  const LineBox box = line_box(params + kEraseTop, p.to);
  const uint64_t key = erase::noise_key(params);
  const auto* x = static_cast<const T*>(p.x);
  auto* out = static_cast<T*>(p.out);
  const bool copied = p.x != p.out, whole = p.from.line_stride == p.from.line;
  const auto copy = [&](T* to, const T* from, int64_t n) {
    streamed ? stream(to, from, n * static_cast<int64_t>(sizeof(T)))
             : static_cast<void>(std::memcpy(to, from, n * sizeof(T)));
  };
  for (int64_t plane = 0; plane < p.to.planes; ++plane) {
    const int64_t begin = copied ? 0 : box.top, end = copied ? p.to.height : box.bottom;
    for (int64_t y = begin; y < end; ++y) {
      T* to = out + p.to.at(r, plane, y);
      const T* from = x + p.from.at(r, plane, y);
      if (!box.has_line(y)) {
        const int64_t next = y < box.top ? std::min(box.top, end) : end, lines = whole ? next - y : 1;
        copy(to, from, lines * p.to.line);
        y += lines - 1;
        continue;
      }
      if (copied) {
        copy(to, from, box.left);
        copy(to + box.right, from + box.right, p.to.line - box.right);
      }
      if (p.noise) {
        fill_noise(p, key, plane, y, box.left, box.right, to, memory);
      } else {
        fill_values(p, plane, box.left, box.right, to);
      }
    }
  }
}

template <typename T>
void run(const RandomErase& p, int threads) {
  const uint64_t seed = p.drawn ? 0 : p.draw.seed.get();
  const int64_t image = p.to.planes * p.to.height * p.to.line;
  threads = team(p.to.rows * image * sizeof(T), kBytesPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t first = p.to.rows * omp_get_thread_num() / omp_get_num_threads();
    const int64_t last = p.to.rows * (omp_get_thread_num() + 1) / omp_get_num_threads();
    LargeOutput memory;
    if (p.x != p.out)
      memory = prepare_large_output(static_cast<T*>(p.out) + first * image, (last - first) * image * sizeof(T));
    std::vector<float> noise;
    for (int64_t r = first; r < last; ++r) {
      if (!p.drawn) erase::erase_params(p.draw, seed, p.draw.row_ids[r], p.params + r * kEraseColumns);
      erase_image<T>(p, r, memory.streamed, noise);
    }
    stream_fence();
  }
}

}  // namespace

void random_erase_params(const RandomEraseParams& p, int) {
  const uint64_t seed = p.draw.seed.get();
  for (int64_t r = 0; r < p.rows; ++r) erase::erase_params(p.draw, seed, p.draw.row_ids[r], p.out + r * kEraseColumns);
}

void random_erase(const RandomErase& p, int threads) {
  if (p.bytes) return run<uint8_t>(p, threads);
  by_dtype(p.dtype, [&](auto element) { run<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
