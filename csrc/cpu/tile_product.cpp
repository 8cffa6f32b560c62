// The micro-kernel holds 6 x 64 sums in 24 registers. Its unit of depth is the word, a float or two bf16 numbers: per
// word it multiplies 4 registers of the right factor by 6 words of the left one, 10 loads for 24 multiplications. 64
// columns and kDepth words of the right factor, 64 KiB, are packed into a panel, which is read from L2 in order while
// rows of the left factor pass by: half as deep it would stay in L1, but sums would be stored twice as often, which
// costs more. Packing costs about as much as 6 rows.
#include "sslfast/tile_product.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "bf16_lanes.h"
#include "team.h"
#include "tile_panels.h"

#if defined(__x86_64__)

namespace sslfast::cpu {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kFineDepth = 32;  // words, of which sums that are to be more precise are taken first

template <typename T>
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  } else {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512i word_at(const char* address) {
  int32_t word;
  std::memcpy(&word, address, 4);
  return _mm512_set1_epi32(word);
}

// `words` of the left factor, the last one of which is half if depth is odd: the other half is not read.
struct Depth {
  int64_t words;
  bool half;
};

// The lists of the second part of the left factor's rows, `stride` words apart.
struct Rest {
  const RestWord* words;
  const int32_t* counts;  // null for none
  int64_t stride;
};

using Sums = __m512[kRows][kVectors];

// Sums of the products of kRows rows with one panel. A sum is rounded in proportion to what was summed so far: kFine,
// which sums kFineDepth words at a time, makes most roundings an eighth, with a trip of the sums to L1 each time.
template <typename T, bool kFine>
SSLFAST_BF16 inline __attribute__((always_inline)) void multiply_words(Sums& sums, const char* const (&row)[kRows],
                                                                       int64_t word_bytes, Depth depth,
                                                                       const int32_t* panel) {
  const int64_t whole = depth.words - depth.half;
  int64_t at = 0;
  alignas(64) float earlier[kFine ? kRows * kPanel : 1];
  for (int64_t begin = 0; begin < whole; begin += kFineDepth) {
    const int64_t end = kFine ? std::min(whole, begin + kFineDepth) : whole;
    for (int64_t w = begin; w < end; ++w, at += word_bytes, panel += kPanel) {
      __m512i right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) right[v] = _mm512_loadu_si512(panel + 16 * v);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const __m512i word = word_at(row[i] + at);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] = multiply_add<T>(sums[i][v], word, right[v]);
      }
    }
    if constexpr (!kFine) break;
    const bool first_part = begin == 0, last_part = end == whole;
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* sum = earlier + i * kPanel + 16 * v;
        if (!first_part) sums[i][v] = _mm512_add_ps(_mm512_load_ps(sum), sums[i][v]);
        if (last_part) continue;
        _mm512_store_ps(sum, sums[i][v]);
        sums[i][v] = _mm512_setzero_ps();
      }
    }
  }
  if (!depth.half) return;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    uint16_t number;
    std::memcpy(&number, row[i] + at, 2);
    const __m512i word = _mm512_set1_epi32(number);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = multiply_add<T>(sums[i][v], word, _mm512_loadu_si512(panel + 16 * v));
    }
  }
}

template <typename T>
SSLFAST_BF16 inline __attribute__((always_inline)) void multiply_rest(Sums& sums, int64_t rows, const Rest& rest,
                                                                      const int32_t* panel) {
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    if (i >= rows) break;
    const RestWord* at = rest.words + i * rest.stride;
    for (const RestWord* end = at + rest.counts[i]; at != end; ++at) {
      const __m512i word = _mm512_set1_epi32(static_cast<int32_t>(at->numbers));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[i][v] = multiply_add<T>(sums[i][v], word, _mm512_loadu_si512(panel + at->place * kPanel + 16 * v));
      }
    }
  }
}

// Whole panels do without masked stores, which take a hundredth of a product's time.
template <bool kWhole>
SSLFAST_BF16 inline __attribute__((always_inline)) void store(const Sums& sums, float* out, int64_t stride,
                                                              int64_t rows, int64_t cols, const Scaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    if (i >= rows) break;
    const __m512 scale = _mm512_set1_ps(scaling.by_row ? factor * scaling.by_row[i] : factor);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = kWhole ? 0xffff : lanes(cols - 16 * v);
      float* to = out + i * stride + 16 * v;
      __m512 product = sums[i][v];
      if (scaling.by_column) {
        product = _mm512_mul_ps(product, _mm512_maskz_loadu_ps(mask, scaling.by_column + 16 * v));
      }
      const __m512 there = scaling.add ? _mm512_maskz_loadu_ps(mask, to) : _mm512_setzero_ps();
      const __m512 sum = _mm512_fmadd_ps(scale, product, there);
      if constexpr (kWhole) {
        _mm512_storeu_ps(to, sum);
      } else {
        _mm512_mask_storeu_ps(to, mask, sum);
      }
    }
  }
}

// out <- what a panel of the right factor adds to `cols` columns of the rows of a left one, which begin at `left`.
template <typename T, bool kFine>
SSLFAST_BF16 void multiply_panel(float* out, int64_t stride, int64_t rows, int64_t cols, Depth depth, const T* left,
                                 int64_t row_bytes, int64_t word_bytes, const Rest& rest, const int32_t* panel,
                                 const Scaling& scaling) {
  for (int64_t i = 0; i < rows; i += kRows) {
    const int64_t count = std::min(kRows, rows - i);
    Sums sums;
    const char* row[kRows];  // those beyond the last repeat it and are not stored
    const char* from = reinterpret_cast<const char*>(left) + i * row_bytes;
    float *const first = out + i * stride, *to = first;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      row[r] = from;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_setzero_ps();
        _mm_prefetch(reinterpret_cast<const char*>(to + 16 * v), _MM_HINT_T0);
      }
      from += r + 1 < count ? row_bytes : 0;
      to += r + 1 < count ? stride : 0;
    }
    multiply_words<T, kFine>(sums, row, word_bytes, depth, panel);
    if constexpr (!std::is_same_v<T, float>) {
      if (rest.counts) {
        multiply_rest<T>(sums, count, {rest.words + i * rest.stride, rest.counts + i, rest.stride}, panel);
      }
    }
    Scaling here = scaling;
    if (scaling.by_row) here.by_row += i;
    if (cols == kPanel) {
      store<true>(sums, first, stride, count, cols, here);
    } else {
      store<false>(sums, first, stride, count, cols, here);
    }
  }
}

template <typename T>
void multiply(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<T>& left,
              const RightFactor<T>& right, const Scaling& scaling, int threads) {
  const int64_t panels = right.panels(cols), steps = right.steps(depth);
  int64_t height = 176 * kRows;  // rows that share a packed panel; where a sum is taken makes no difference
  if (threads > 1) {
    const int64_t blocks = (rows * panels / (2 * threads) + kRows - 1) / kRows;
    height = std::clamp(blocks * kRows, 8 * kRows, height);
  }
  const int64_t heights = (rows + height - 1) / height;
  const int64_t row_bytes = left.row_stride * sizeof(T), word_bytes = left.depth_stride * 4;
  const int64_t rest_words = RoundedWeights::rest_words(depth);
  share_out(panels * heights, threads, [&](int64_t item) {
    alignas(64) int32_t own[kDepth * kPanel];
    const int64_t beside = item / heights, col0 = beside * kPanel, row0 = item % heights * height;
    const int64_t end = std::min(rows, row0 + height), width = std::min(kPanel, cols - col0);
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t k = step * kStep<T>, numbers = std::min(kStep<T>, depth - k);
      const int32_t* panel = own;
      if (right.packed) {
        panel = right.packed + (beside * steps + step) * kDepth * kPanel;
      } else {
        pack_panel(right, col0, width, k, numbers, own);
      }
      const Depth part{(numbers + kPerWord<T> - 1) / kPerWord<T>, numbers % kPerWord<T> != 0};
      const T* from = left.data + row0 * left.row_stride + k * left.depth_stride;
      Rest rest{};
      if (left.rest_counts) rest = {left.rest + row0 * rest_words, left.rest_counts + row0, rest_words};
      const Scaling here{scaling.factor, scaling.add || step > 0, scaling.by_row ? scaling.by_row + row0 : nullptr,
                         scaling.by_column ? scaling.by_column + col0 : nullptr};
      (scaling.fine ? multiply_panel<T, true> : multiply_panel<T, false>)(out + row0 * stride + col0, stride,
                                                                          end - row0, width, part, from, row_bytes,
                                                                          word_bytes, rest, panel, here);
    }
  });
}

}  // namespace

bool has_bf16_product() {
  static const bool has = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bf16");
  }();
  return has;
}

bool has_float_product() {
  static const bool has = has_bf16_product() && __builtin_cpu_is("amd");
  return has;
}

void product(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<float>& left,
             const RightFactor<float>& right, const Scaling& scaling, int threads) {
  multiply(out, stride, rows, cols, depth, left, right, scaling, threads);
}
void product(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<uint16_t>& left,
             const RightFactor<uint16_t>& right, const Scaling& scaling, int threads) {
  multiply(out, stride, rows, cols, depth, left, right, scaling, threads);
}

}  // namespace sslfast::cpu

#else

namespace sslfast::cpu {

bool has_bf16_product() { return false; }
bool has_float_product() { return false; }
void product(float*, int64_t, int64_t, int64_t, int64_t, const LeftFactor<float>&, const RightFactor<float>&,
             const Scaling&, int) {}
void product(float*, int64_t, int64_t, int64_t, int64_t, const LeftFactor<uint16_t>&, const RightFactor<uint16_t>&,
             const Scaling&, int) {}

}  // namespace sslfast::cpu

#endif
