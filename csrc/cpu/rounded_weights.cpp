// Two passes: the first finds the largest weight of each row or column, the second scales and rounds them. A row is
// still in L1 then, columns are in L2.
//
// Short mantissas are off by twice as much as long ones, and many weights may be nearly one number: early in training,
// or once the positives have become one vector. So the largest weight gets the longest mantissa.
//
// Where labels give a row several positives, those are a few large weights that nearly cancel, and their rounding would
// be that of what is left of them. So they keep a rest, what rounding took off, and it is by the others that the scale
// is chosen.
#include <algorithm>

#include "bf16_lanes.h"
#include "sslfast/tile_product.h"

#if defined(__x86_64__)

namespace sslfast::cpu {
namespace {

constexpr int kVectors = 4;  // side by side: as many independent maxima
constexpr int64_t kBlock = 16 * kVectors;

SSLFAST_BF16 inline __attribute__((always_inline)) __m256i rounded(__m512 numbers) {
  return (__m256i)_mm512_cvtneps_pbh(numbers);
}

// Numbers of two rows as pairs.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512i in_pairs(__m256i first, __m256i second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(first), _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
}

// Beside the largest weights seen so far, without their signs, the same times factors, with them.
struct Largest {
  __m512 weight, product;
};

SSLFAST_BF16 inline __attribute__((always_inline)) void take(Largest& largest, __m512 weights, __m512 factors,
                                                             __mmask16 among) {
  const __m512 sizes = _mm512_abs_ps(weights);
  const __mmask16 above = _mm512_mask_cmp_ps_mask(among, sizes, largest.weight, _CMP_GT_OQ);
  largest.weight = _mm512_mask_mov_ps(largest.weight, above, sizes);
  largest.product = _mm512_mask_mul_ps(largest.product, above, weights, factors);
}

constexpr float kMostMantissa = 255.0f / 128.0f;

// What to divide weights by so that this one gets the longest mantissa.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 scale_of(__m512 product) {
  const __m512 mantissa = _mm512_getmant_ps(product, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  return _mm512_mul_ps(mantissa, _mm512_set1_ps(1.0f / kMostMantissa));
}

SSLFAST_BF16 inline __attribute__((always_inline)) __m512 widened(__m256i numbers) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}

// What rounding took off the weights of the mask, rounded; 0 elsewhere, and where it took all there was: inf and NaN.
SSLFAST_BF16 inline __attribute__((always_inline)) __m256i rest_of(__m512 weights, __m256i nearest, __mmask16 same) {
  const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(weights), _mm512_set1_ps(3e38f), _CMP_LT_OQ);
  return rounded(_mm512_maskz_sub_ps(same & finite, weights, widened(nearest)));
}

// Which of 16 columns are of the label of a row.
SSLFAST_BF16 inline __attribute__((always_inline)) __mmask16 of_label(const int32_t* labels, __m512i label,
                                                                      __mmask16 mask) {
  return _mm512_mask_cmpeq_epi32_mask(mask, _mm512_maskz_loadu_epi32(mask, labels), label);
}

// The bits of row i's words that have a rest are added to `words`.
template <bool kLabels>
SSLFAST_BF16 void round_row(const float* weights, const float* col_factors, const RoundedWeights& to, int64_t i,
                            uint64_t* words) {
  const int64_t cols = to.cols;
  const float* row = weights + i * cols;
  uint16_t* out = to.by_row + i * RoundedWeights::even(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512i label = _mm512_set1_epi32(kLabels ? to.row_labels[i] : 0);
  Largest largest[kVectors]{};
  for (int64_t j = 0; j < cols; j += kBlock) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = lanes(cols - at);
      const __m512 factors = col_factors ? _mm512_maskz_loadu_ps(mask, col_factors + at) : one;
      __mmask16 among = mask;
      if constexpr (kLabels) among &= ~of_label(to.col_labels + at, label, mask);
      take(largest[v], _mm512_maskz_loadu_ps(mask, row + at), factors, among);
    }
  }
#pragma GCC unroll 3
  for (int v = 1; v < kVectors; ++v) {
    const __mmask16 above = _mm512_cmp_ps_mask(largest[v].weight, largest[0].weight, _CMP_GT_OQ);
    largest[0].weight = _mm512_mask_mov_ps(largest[0].weight, above, largest[v].weight);
    largest[0].product = _mm512_mask_mov_ps(largest[0].product, above, largest[v].product);
  }
  const __m512 most = _mm512_set1_ps(_mm512_reduce_max_ps(largest[0].weight));
  const __mmask16 lane = _mm512_cmp_ps_mask(largest[0].weight, most, _CMP_EQ_OQ);
  const __m512 product =
      _mm512_broadcastss_ps(_mm512_castps512_ps128(_mm512_maskz_compress_ps(lane, largest[0].product)));
  const __m512 scale = scale_of(product);
  const __m512 inverse = _mm512_div_ps(one, scale);
  to.row_scales[i] = _mm512_cvtss_f32(scale);
  for (int64_t j = 0; j < cols; j += 16) {
    const __mmask16 mask = lanes(cols - j), even = lanes(RoundedWeights::even(cols - j));
    const __m512 factors = col_factors ? _mm512_mul_ps(inverse, _mm512_maskz_loadu_ps(mask, col_factors + j)) : inverse;
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + j), factors);
    const __m256i nearest = rounded(scaled);
    _mm256_mask_storeu_epi16(out + j, even, nearest);
    if constexpr (kLabels) {
      const __m256i rest = rest_of(scaled, nearest, of_label(to.col_labels + j, label, mask));
      _mm256_mask_storeu_epi16(out + to.row_rest + j, even, rest);
      words[j / 128] |= static_cast<uint64_t>(_mm256_test_epi32_mask(rest, rest)) << (j / 2 % 64);
    }
  }
}

// kBlock columns from column j.
template <bool kLabels>
SSLFAST_BF16 void round_columns(const float* weights, const float* row_factors, const RoundedWeights& to, int64_t j) {
  const int64_t rows = to.rows, cols = to.cols, stride = RoundedWeights::column_stride(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  const float* column = weights + j;
  uint16_t* out = to.by_column + 2 * j;
  __mmask16 mask[kVectors];
  __m512i labels[kVectors]{};
  Largest largest[kVectors]{};
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    mask[v] = lanes(cols - j - 16 * v);
    if constexpr (kLabels) labels[v] = _mm512_maskz_loadu_epi32(mask[v], to.col_labels + j + 16 * v);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const __m512 factor = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 numbers = _mm512_maskz_loadu_ps(mask[v], column + i * cols + 16 * v);
      __mmask16 among = mask[v];
      if constexpr (kLabels) among &= _mm512_cmpneq_epi32_mask(labels[v], _mm512_set1_epi32(to.row_labels[i]));
      take(largest[v], numbers, factor, among);
    }
  }
  __m512 inverse[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = scale_of(largest[v].product);
    inverse[v] = _mm512_div_ps(one, scale);
    _mm512_mask_storeu_ps(to.col_scales + j + 16 * v, mask[v], scale);
  }
  for (int64_t i = 0; i < rows; i += 2, out += stride) {
    const bool two = i + 1 < rows;
    const __m512 factor0 = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
    const __m512 factor1 = row_factors && two ? _mm512_set1_ps(row_factors[i + 1]) : one;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const float* at = column + i * cols + 16 * v;
      const __m512 w0 = _mm512_maskz_loadu_ps(mask[v], at);
      const __m512 w1 = two ? _mm512_maskz_loadu_ps(mask[v], at + cols) : _mm512_setzero_ps();
      const __m512 scaled0 = _mm512_mul_ps(w0, _mm512_mul_ps(inverse[v], factor0));
      const __m512 scaled1 = _mm512_mul_ps(w1, _mm512_mul_ps(inverse[v], factor1));
      const __m256i nearest0 = rounded(scaled0), nearest1 = rounded(scaled1);
      _mm512_mask_storeu_epi32(out + 32 * v, mask[v], in_pairs(nearest0, nearest1));
      if constexpr (kLabels) {
        const __m512i label0 = _mm512_set1_epi32(to.row_labels[i]);
        const __m512i label1 = _mm512_set1_epi32(to.row_labels[two ? i + 1 : i]);
        const __m256i rest0 = rest_of(scaled0, nearest0, _mm512_cmpeq_epi32_mask(labels[v], label0));
        const __m256i rest1 = rest_of(scaled1, nearest1, _mm512_cmpeq_epi32_mask(labels[v], label1));
        _mm512_mask_storeu_epi32(out + to.column_rest + 32 * v, mask[v], in_pairs(rest0, rest1));
      }
    }
  }
}

// Of kGroups groups of columns, from column j, the words that have a rest. Most pairs of rows have none.
constexpr int64_t kGroup = kRowsAtOnce, kGroups = 8;  // 3 vectors

SSLFAST_BF16 void find_column_rests(const RoundedWeights& to, int64_t j) {
  const int64_t pairs = RoundedWeights::even(to.rows) / 2, stride = RoundedWeights::column_stride(to.cols);
  const int64_t size = RoundedWeights::bit_words(pairs), count = std::min(kGroups, (to.cols - j + kGroup - 1) / kGroup);
  uint64_t* words = to.column_words + j / kGroup * size;
  std::fill_n(words, count * size, uint64_t{0});
  const uint16_t* from = to.by_column + to.column_rest + 2 * j;
  for (int64_t p = 0; p < pairs; ++p, from += stride) {
    uint64_t some = 0;
#pragma GCC unroll 3
    for (int v = 0; v < 3; ++v) {
      const __m512i rest = _mm512_maskz_loadu_epi32(lanes(to.cols - j - 16 * v), from + 32 * v);
      some |= static_cast<uint64_t>(_mm512_test_epi32_mask(rest, rest)) << (16 * v);
    }
    for (int64_t g = 0; some != 0 && g < count; ++g, some >>= kGroup) {
      if (some & ((1u << kGroup) - 1)) words[g * size + p / 64] |= uint64_t{1} << (p % 64);
    }
  }
}

}  // namespace

void round_by_row(const float* weights, const float* col_factors, const RoundedWeights& to, int threads) {
  const int64_t size = RoundedWeights::bit_words(RoundedWeights::even(to.cols) / 2);
  const int64_t groups = (to.rows + kGroup - 1) / kGroup;
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.rows > 16)
  for (int64_t g = 0; g < groups; ++g) {
    uint64_t* words = to.row_labels ? to.row_words + g * size : nullptr;
    if (words) std::fill_n(words, size, uint64_t{0});
    for (int64_t i = g * kGroup; i < std::min(to.rows, (g + 1) * kGroup); ++i) {
      words ? round_row<true>(weights, col_factors, to, i, words)
            : round_row<false>(weights, col_factors, to, i, nullptr);
    }
  }
}

void round_by_column(const float* weights, const float* row_factors, const RoundedWeights& to, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.cols > kBlock)
  for (int64_t j = 0; j < to.cols; j += kBlock) {
    to.row_labels ? round_columns<true>(weights, row_factors, to, j)
                  : round_columns<false>(weights, row_factors, to, j);
  }
  if (!to.row_labels) return;
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.cols > kBlock)
  for (int64_t j = 0; j < to.cols; j += kGroup * kGroups) find_column_rests(to, j);
}

}  // namespace sslfast::cpu

#else

namespace sslfast::cpu {

void round_by_row(const float*, const float*, const RoundedWeights&, int) {}
void round_by_column(const float*, const float*, const RoundedWeights&, int) {}

}  // namespace sslfast::cpu

#endif
