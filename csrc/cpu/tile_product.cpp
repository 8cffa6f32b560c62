// The micro-kernel holds 6 x 64 sums in 24 registers. Its unit of depth is the word, a float or two bf16 numbers: per
// word it multiplies 4 registers of the right factor by 6 words of the left one, 10 loads for 24 multiplications. 64
// columns and kDepth words of the right factor, 32 KiB, are packed into a panel that stays in L1 while rows of the left
// factor pass by; packing costs about as much as 6 rows.
#include "sslfast/tile_product.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "bf16_lanes.h"
#include "team.h"

#if defined(__x86_64__)

namespace sslfast::cpu {
namespace {

constexpr int64_t kRows = 6, kDepth = kDepthAtOnce, kPanel = 64;
constexpr int64_t kFineDepth = 32;  // words, of which sums that are to be more precise are taken first
constexpr int kVectors = kPanel / 16;

template <typename T>
constexpr int64_t kPerWord = 4 / sizeof(T);

SSLFAST_BF16 inline __attribute__((always_inline)) __mmask32 halves(int64_t count) {
  return count >= 32 ? 0xffffffffu : count <= 0 ? 0 : static_cast<__mmask32>((1u << count) - 1);
}

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

// The lists of the second part of the left factor's rows, `stride` apart.
struct Rest {
  const RestWord* words;
  const int32_t* counts;  // null for none
  int64_t stride;
};

// rows <= kRows rows times one panel. Rows beyond the last repeat it and are not stored. Each of the roundings of a sum
// is of what was summed so far; kFine makes most of them a quarter, with a trip of the sums to L1 every kFineDepth.
template <typename T, bool kFine>
SSLFAST_BF16 void block(float* out, int64_t stride, int64_t rows, int64_t cols, Depth depth, const char* left,
                        int64_t row_bytes, int64_t word_bytes, const int32_t* panel, const Rest& rest,
                        const Scaling& scaling) {
  __m512 sums[kRows][kVectors];
  const char* row[kRows];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    row[i] = left + std::min<int64_t>(i, rows - 1) * row_bytes;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = _mm512_setzero_ps();
      _mm_prefetch(reinterpret_cast<const char*>(out + std::min<int64_t>(i, rows - 1) * stride + 16 * v), _MM_HINT_T0);
    }
  }
  const int64_t whole = depth.words - depth.half;
  [[maybe_unused]] const int32_t* const first = panel;
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
  if (depth.half) {
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
  const auto factor = static_cast<float>(scaling.factor);
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    if (i >= rows) break;
    if constexpr (!std::is_same_v<T, float>) {
      const RestWord* at = rest.counts ? rest.words + i * rest.stride * kDepth : nullptr;
      for (const RestWord* end = rest.counts ? at + rest.counts[i * rest.stride] : nullptr; at != end; ++at) {
        const __m512i word = _mm512_set1_epi32(static_cast<int32_t>(at->numbers));
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const __m512i right = _mm512_loadu_si512(first + at->place * kPanel + 16 * v);
          sums[i][v] = multiply_add<T>(sums[i][v], word, right);
        }
      }
    }
    const __m512 scale = _mm512_set1_ps(scaling.by_row ? factor * scaling.by_row[i] : factor);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = lanes(cols - 16 * v);
      float* to = out + i * stride + 16 * v;
      __m512 product = _mm512_mul_ps(scale, sums[i][v]);
      if (scaling.by_column) {
        product = _mm512_mul_ps(product, _mm512_maskz_loadu_ps(mask, scaling.by_column + 16 * v));
      }
      if (scaling.add) product = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), product);
      _mm512_mask_storeu_ps(to, mask, product);
    }
  }
}

// Numbers (k, j) for k < depth and j < cols as words; columns are filled up to kPanel with zeros.
SSLFAST_BF16 void pack(const float* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  for (int64_t k = 0; k < depth; ++k, panel += kPanel) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_si512(panel + 16 * v, _mm512_maskz_loadu_epi32(lanes(cols - 16 * v), from + k * stride + 16 * v));
    }
  }
}

SSLFAST_BF16 void pack(const uint16_t* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t k = 0; k < depth; k += 2, panel += kPanel) {
    for (int half = 0; half < 2; ++half) {
      const __mmask32 mask = halves(cols - 32 * half);
      const uint16_t* at = from + k * stride + 32 * half;
      const __m512i first = _mm512_maskz_loadu_epi16(mask, at);
      const __m512i second = k + 1 < depth ? _mm512_maskz_loadu_epi16(mask, at + stride) : _mm512_setzero_si512();
      _mm512_storeu_si512(panel + 32 * half, _mm512_permutex2var_epi16(first, low, second));
      _mm512_storeu_si512(panel + 32 * half + 16, _mm512_permutex2var_epi16(first, high, second));
    }
  }
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512i sixteen_words(const float* from, int64_t count) {
  return _mm512_maskz_loadu_epi32(lanes(count), from);
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512i sixteen_words(const uint16_t* from, int64_t count) {
  return _mm512_maskz_loadu_epi16(halves(count), from);
}

// The same where number (k, j) is at from + j * stride + k: squares of 16 x 16 words are transposed in registers.
template <typename T>
SSLFAST_BF16 void pack_transposed(const T* from, int64_t stride, int64_t depth, int64_t cols, int32_t* panel) {
  constexpr int64_t kSquare = 16 * kPerWord<T>;
  for (int64_t k = 0; k < depth; k += kSquare) {
    const int64_t words = std::min<int64_t>(16, (depth - k + kPerWord<T> - 1) / kPerWord<T>);
    for (int v = 0; v < kVectors; ++v) {
      __m512i a[16], b[16];
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
        a[j] = 16 * v + j < cols ? sixteen_words(from + (16 * v + j) * stride + k, depth - k) : _mm512_setzero_si512();
      }
#pragma GCC unroll 8
      for (int j = 0; j < 16; j += 2) {
        b[j] = _mm512_unpacklo_epi32(a[j], a[j + 1]);
        b[j + 1] = _mm512_unpackhi_epi32(a[j], a[j + 1]);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 16; j += 4) {
        a[j] = _mm512_unpacklo_epi64(b[j], b[j + 2]);
        a[j + 1] = _mm512_unpackhi_epi64(b[j], b[j + 2]);
        a[j + 2] = _mm512_unpacklo_epi64(b[j + 1], b[j + 3]);
        a[j + 3] = _mm512_unpackhi_epi64(b[j + 1], b[j + 3]);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        b[j] = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x88);
        b[j + 4] = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xdd);
        b[j + 8] = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x88);
        b[j + 12] = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xdd);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        a[j] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88);
        a[j + 8] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd);
        a[j + 4] = _mm512_shuffle_i32x4(b[j + 4], b[j + 12], 0x88);
        a[j + 12] = _mm512_shuffle_i32x4(b[j + 4], b[j + 12], 0xdd);
      }
#pragma GCC unroll 16
      for (int w = 0; w < 16; ++w) {
        if (w < words) _mm512_storeu_si512(panel + w * kPanel + 16 * v, a[w]);
      }
    }
    panel += 16 * kPanel;
  }
}

template <typename T>
void multiply(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<T>& left,
              const RightFactor<T>& right, const Scaling& scaling, int threads) {
  constexpr int64_t kStep = kDepth * kPerWord<T>;
  const int64_t panels = (cols + kPanel - 1) / kPanel;
  int64_t height = 88 * kRows;  // rows that share a packed panel; where a sum is taken makes no difference
  if (threads > 1) {
    const int64_t blocks = (rows * panels / (2 * threads) + kRows - 1) / kRows;
    height = std::clamp(blocks * kRows, 8 * kRows, height);
  }
  const int64_t heights = (rows + height - 1) / height;
  const int64_t lists = RoundedWeights::lists_of_row(depth);
  share_out(panels * heights, threads, [&](int64_t item) {
    alignas(64) int32_t panel[kDepth * kPanel];
    const int64_t col0 = item / heights * kPanel, row0 = item % heights * height;
    const int64_t end = std::min(rows, row0 + height), width = std::min(kPanel, cols - col0);
    for (int64_t k = 0; k < depth; k += kStep) {
      const int64_t numbers = std::min(kStep, depth - k);
      if (right.transposed) {
        pack_transposed(right.data + col0 * right.stride + k, right.stride, numbers, width, panel);
      } else {
        pack(right.data + k * right.stride + col0, right.stride, numbers, width, panel);
      }
      const Depth part{(numbers + kPerWord<T> - 1) / kPerWord<T>, numbers % kPerWord<T> != 0};
      for (int64_t i = row0; i < end; i += kRows) {
        const T* from = left.data + i * left.row_stride + k * left.depth_stride;
        const Scaling here{scaling.factor, scaling.add || k > 0, scaling.by_row ? scaling.by_row + i : nullptr,
                           scaling.by_column ? scaling.by_column + col0 : nullptr, scaling.fine};
        const int64_t list = i * lists + k / kStep;
        const Rest rest = left.rest_counts ? Rest{left.rest + list * kDepth, left.rest_counts + list, lists} : Rest{};
        (scaling.fine ? block<T, true>
                      : block<T, false>)(out + i * stride + col0, stride, std::min(kRows, end - i), width, part,
                                         reinterpret_cast<const char*>(from), left.row_stride * sizeof(T),
                                         left.depth_stride * kPerWord<T> * sizeof(T), panel, rest, here);
      }
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
