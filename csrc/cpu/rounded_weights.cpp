// Two passes: the first finds the largest weight of each row or column, the second scales and rounds them. A row is
// still in L1 then, columns are in L2.
//
// Short mantissas are off by twice as much as long ones, and many weights may be nearly one number: early in training,
// or once the positives have become one vector. So the largest weight gets the longest mantissa. Where labels give a
// row several positives, whose weights are negative, one more pass finds the largest of either sign. One of the two
// gets the longest mantissa that leaves the other 1.41 at least; and about the longest, so that both are near a number
// of bf16.
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

// Beside the largest weights seen so far, without their signs, the same times factors, with them.
struct Largest {
  __m512 weight, product;
};

// Of all weights by size; or, with kOneSign, of those that get a plus by having the bits of `flip` turned.
template <bool kOneSign>
SSLFAST_BF16 inline __attribute__((always_inline)) void take(Largest& largest, __m512 weights, __m512 factors,
                                                             __m512i flip) {
  const __m512 sizes =
      kOneSign ? _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(weights), flip)) : _mm512_abs_ps(weights);
  const __mmask16 above = _mm512_cmp_ps_mask(sizes, largest.weight, _CMP_GT_OQ);
  largest.weight = _mm512_mask_mov_ps(largest.weight, above, sizes);
  largest.product = _mm512_mask_mul_ps(largest.product, above, weights, factors);
}

constexpr float kMostMantissa = 255.0f / 128.0f, kStep = 1.0f / 512.0f;  // a quarter of bf16's between 1 and 2
constexpr int kChoices = 32;  // of mantissas for the largest weight, down from the most in these steps

SSLFAST_BF16 inline __attribute__((always_inline)) __m512 mantissa(__m512 numbers) {
  return _mm512_getmant_ps(numbers, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
}

// What to divide weights by so that this one gets the longest mantissa.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 scale_of(__m512 product) {
  return _mm512_mul_ps(mantissa(product), _mm512_set1_ps(1.0f / kMostMantissa));
}

// By how much rounding changes positive numbers.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 rounding_of(__m512 numbers) {
  const __m512 nearest = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded(numbers)), 16));
  return _mm512_abs_ps(_mm512_sub_ps(nearest, numbers));
}

// A bit where a number is neither 0 nor NaN.
SSLFAST_BF16 inline __attribute__((always_inline)) __mmask16 some(__m512 numbers) {
  return _mm512_cmp_ps_mask(numbers, _mm512_setzero_ps(), _CMP_NEQ_OQ);
}

// The mantissas of two numbers: of the one that gets the longest, of the other by it, and the inverse of that.
struct Pair {
  __m512 first, ratio, inverse;
};

// Either may get the longest: the largest does, unless that leaves the other less than 1.41. Then it is left more.
SSLFAST_BF16 inline __attribute__((always_inline)) Pair pair_of(__m512 largest, __m512 other) {
  const __m512 a = mantissa(largest), b = mantissa(other);
  const __mmask16 swapped =
      some(other) & _mm512_cmp_ps_mask(mantissa(_mm512_div_ps(b, a)), _mm512_set1_ps(1.41421356f), _CMP_LT_OQ);
  const __m512 first = _mm512_mask_mov_ps(a, swapped, b);
  const __m512 second = _mm512_mask_mov_ps(b, swapped, a);
  return {first, _mm512_div_ps(second, first), _mm512_div_ps(first, second)};
}

// What the worse of the two is off by, rounded, where the first gets this mantissa; relative to it, nearly 2.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 worse_rounding(const Pair& pair, __m512 length) {
  const __m512 other = rounding_of(_mm512_mul_ps(length, pair.ratio));
  return _mm512_max_ps(rounding_of(length), _mm512_mul_ps(other, pair.inverse));
}

// The scale where there is another number to round, all lanes alike. Lanes try kChoices.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 scale_for(__m512 largest, __m512 other) {
  const Pair pair = pair_of(largest, other);
  const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512 best = _mm512_fnmadd_ps(steps, _mm512_set1_ps(kStep), _mm512_set1_ps(kMostMantissa));
  __m512 least = worse_rounding(pair, best), choice = best;
  for (int k = 16; k < kChoices; k += 16) {
    choice = _mm512_sub_ps(choice, _mm512_set1_ps(16 * kStep));
    const __m512 off = worse_rounding(pair, choice);
    best = _mm512_mask_mov_ps(best, _mm512_cmp_ps_mask(off, least, _CMP_LT_OQ), choice);
    least = _mm512_min_ps(off, least);
  }
  const __mmask16 lane = _mm512_cmp_ps_mask(least, _mm512_set1_ps(_mm512_reduce_min_ps(least)), _CMP_EQ_OQ);
  const __m512 length = _mm512_broadcastss_ps(_mm512_castps512_ps128(_mm512_maskz_compress_ps(lane, best)));
  return _mm512_div_ps(pair.first, length);
}

// The same of every lane by itself; where the other is 0, of the largest alone.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 scales_for(__m512 largest, __m512 other) {
  const Pair pair = pair_of(largest, other);
  __m512 best = _mm512_set1_ps(kMostMantissa), least = worse_rounding(pair, best), choice = best;
  for (int k = 1; k < kChoices; ++k) {
    choice = _mm512_sub_ps(choice, _mm512_set1_ps(kStep));
    const __m512 off = worse_rounding(pair, choice);
    best = _mm512_mask_mov_ps(best, some(other) & _mm512_cmp_ps_mask(off, least, _CMP_LT_OQ), choice);
    least = _mm512_min_ps(off, least);
  }
  return _mm512_div_ps(pair.first, best);
}

// The bits to turn so that weights of the other sign than these get a plus.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512i flip_of(__m512 numbers) {
  return _mm512_andnot_si512(_mm512_castps_si512(numbers), _mm512_set1_epi32(INT32_MIN));
}

// The largest weight of a row times its factor, in all lanes; 0 if there is none. Signs collects the bits of all.
template <bool kOneSign>
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 largest_of_row(const float* row, const float* col_factors,
                                                                         int64_t cols, __m512i flip, __m512i& signs) {
  const __m512 one = _mm512_set1_ps(1.0f);
  Largest largest[kVectors]{};
  for (int64_t j = 0; j < cols; j += kBlock) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = lanes(cols - at);
      const __m512 weights = _mm512_maskz_loadu_ps(mask, row + at);
      if (!kOneSign) signs = _mm512_or_si512(signs, _mm512_castps_si512(weights));
      take<kOneSign>(largest[v], weights, col_factors ? _mm512_maskz_loadu_ps(mask, col_factors + at) : one, flip);
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
  return _mm512_broadcastss_ps(_mm512_castps512_ps128(_mm512_maskz_compress_ps(lane, largest[0].product)));
}

SSLFAST_BF16 void round_row(const float* weights, const float* col_factors, const RoundedWeights& to, int64_t i) {
  const int64_t cols = to.cols;
  const float* row = weights + i * cols;
  uint16_t* out = to.by_row + i * RoundedWeights::even(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512i signs = _mm512_setzero_si512();
  const __m512 product = largest_of_row<false>(row, col_factors, cols, signs, signs);
  __m512 scale = scale_of(product);
  if (_mm512_cmplt_epi32_mask(signs, _mm512_setzero_si512())) {
    const __m512 other = largest_of_row<true>(row, col_factors, cols, flip_of(product), signs);
    if (some(other)) scale = scale_for(product, other);
  }
  const __m512 inverse = _mm512_div_ps(one, scale);
  to.row_scales[i] = _mm512_cvtss_f32(scale);
  for (int64_t j = 0; j < cols; j += 16) {
    const __mmask16 mask = lanes(cols - j), even = lanes(RoundedWeights::even(cols - j));
    const __m512 factors = col_factors ? _mm512_mul_ps(inverse, _mm512_maskz_loadu_ps(mask, col_factors + j)) : inverse;
    _mm256_mask_storeu_epi16(out + j, even, rounded(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + j), factors)));
  }
}

// Of up to kBlock columns, those of the masks.
template <bool kOneSign>
SSLFAST_BF16 inline __attribute__((always_inline)) void largest_of_columns(const float* column,
                                                                           const float* row_factors,
                                                                           const RoundedWeights& to,
                                                                           const __mmask16* mask, const __m512i* flip,
                                                                           Largest* largest, __m512i* signs) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t i = 0; i < to.rows; ++i) {
    const __m512 factor = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 weights = _mm512_maskz_loadu_ps(mask[v], column + i * to.cols + 16 * v);
      if (!kOneSign) signs[v] = _mm512_or_si512(signs[v], _mm512_castps_si512(weights));
      take<kOneSign>(largest[v], weights, factor, flip[v]);
    }
  }
}

// kBlock columns from column j.
SSLFAST_BF16 void round_columns(const float* weights, const float* row_factors, const RoundedWeights& to, int64_t j) {
  const int64_t rows = to.rows, cols = to.cols, stride = RoundedWeights::column_stride(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  const float* column = weights + j;
  uint16_t* out = to.by_column + 2 * j;
  __mmask16 mask[kVectors];
  Largest largest[kVectors]{}, other[kVectors]{};
  __m512i signs[kVectors]{}, flip[kVectors]{};
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) mask[v] = lanes(cols - j - 16 * v);
  largest_of_columns<false>(column, row_factors, to, mask, flip, largest, signs);
  const __m512i any = _mm512_or_si512(_mm512_or_si512(signs[0], signs[1]), _mm512_or_si512(signs[2], signs[3]));
  const bool two_signs = _mm512_cmplt_epi32_mask(any, _mm512_setzero_si512()) != 0;
  if (two_signs) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) flip[v] = flip_of(largest[v].product);
    largest_of_columns<true>(column, row_factors, to, mask, flip, other, signs);
  }
  __m512 inverse[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = two_signs ? scales_for(largest[v].product, other[v].product) : scale_of(largest[v].product);
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
      const __m512i low = _mm512_cvtepu16_epi32(rounded(_mm512_mul_ps(w0, _mm512_mul_ps(inverse[v], factor0))));
      const __m512i high = _mm512_cvtepu16_epi32(rounded(_mm512_mul_ps(w1, _mm512_mul_ps(inverse[v], factor1))));
      _mm512_mask_storeu_epi32(out + 32 * v, mask[v], _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

}  // namespace

void round_by_row(const float* weights, const float* col_factors, const RoundedWeights& to, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.rows > 16)
  for (int64_t i = 0; i < to.rows; ++i) round_row(weights, col_factors, to, i);
}

void round_by_column(const float* weights, const float* row_factors, const RoundedWeights& to, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.cols > kBlock)
  for (int64_t j = 0; j < to.cols; j += kBlock) round_columns(weights, row_factors, to, j);
}

}  // namespace sslfast::cpu

#else

namespace sslfast::cpu {

void round_by_row(const float*, const float*, const RoundedWeights&, int) {}
void round_by_column(const float*, const float*, const RoundedWeights&, int) {}

}  // namespace sslfast::cpu

#endif
