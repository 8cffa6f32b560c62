// Two passes: the first finds the largest weight of each row or column, the second scales and rounds them. A row is
// still in L1 then, columns are in L2.
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

// Beside the largest weights seen so far, without their signs, the same times factors.
struct Largest {
  __m512 weight, product;
};

SSLFAST_BF16 inline __attribute__((always_inline)) void take(Largest& largest, __m512 weights, __m512 factors) {
  const __m512 sizes = _mm512_abs_ps(weights);
  const __mmask16 above = _mm512_cmp_ps_mask(sizes, largest.weight, _CMP_GT_OQ);
  largest.weight = _mm512_mask_mov_ps(largest.weight, above, sizes);
  largest.product = _mm512_mask_mul_ps(largest.product, above, weights, factors);
}

constexpr float kMostMantissa = 255.0f / 128.0f;

// What to divide weights by so that the largest, times its factor, gets the mantissa kMostMantissa.
SSLFAST_BF16 inline __attribute__((always_inline)) __m512 scale_of(__m512 product) {
  return _mm512_mul_ps(_mm512_getmant_ps(product, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero),
                       _mm512_set1_ps(1.0f / kMostMantissa));
}

SSLFAST_BF16 void round_row(const float* weights, const float* col_factors, const RoundedWeights& to, int64_t i) {
  const int64_t cols = to.cols;
  const float* row = weights + i * cols;
  uint16_t* out = to.by_row + i * RoundedWeights::even(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  Largest largest[kVectors]{};
  for (int64_t j = 0; j < cols; j += kBlock) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = lanes(cols - at);
      take(largest[v], _mm512_maskz_loadu_ps(mask, row + at),
           col_factors ? _mm512_maskz_loadu_ps(mask, col_factors + at) : one);
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
  const __m512 product = _mm512_maskz_compress_ps(lane, largest[0].product);
  const __m512 scale = scale_of(_mm512_broadcastss_ps(_mm512_castps512_ps128(product)));
  const __m512 inverse = _mm512_div_ps(one, scale);
  to.row_scales[i] = _mm512_cvtss_f32(scale);
  for (int64_t j = 0; j < cols; j += 16) {
    const __mmask16 mask = lanes(cols - j), even = lanes(RoundedWeights::even(cols - j));
    const __m512 factors = col_factors ? _mm512_mul_ps(inverse, _mm512_maskz_loadu_ps(mask, col_factors + j)) : inverse;
    _mm256_mask_storeu_epi16(out + j, even, rounded(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + j), factors)));
  }
}

// kBlock columns from column j.
SSLFAST_BF16 void round_columns(const float* weights, const float* row_factors, const RoundedWeights& to, int64_t j) {
  const int64_t rows = to.rows, cols = to.cols, stride = RoundedWeights::column_stride(cols);
  const __m512 one = _mm512_set1_ps(1.0f);
  const float* column = weights + j;
  uint16_t* out = to.by_column + 2 * j;
  __mmask16 mask[kVectors];
  Largest largest[kVectors]{};
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) mask[v] = lanes(cols - j - 16 * v);
  for (int64_t i = 0; i < rows; ++i) {
    const __m512 factor = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      take(largest[v], _mm512_maskz_loadu_ps(mask[v], column + i * cols + 16 * v), factor);
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
