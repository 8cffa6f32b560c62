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

SSLFAST_BF16 uint64_t mark_row(int32_t label, const int32_t* col_labels, int64_t cols, uint64_t* marks) {
  const __m512i own = _mm512_set1_epi32(label);
  uint64_t some = 0;
  for (int64_t j = 0; j < cols; j += kBlock) {
    uint64_t same = 0;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = lanes(cols - at);
      const __m512i others = _mm512_maskz_loadu_epi32(mask, col_labels + at);
      same |= static_cast<uint64_t>(_mm512_mask_cmpeq_epi32_mask(mask, others, own)) << (16 * v);
    }
    marks[j / kBlock] = same;
    some |= same;
  }
  return some;
}

// The marks of vector v of a block.
inline __mmask16 marks_of(uint64_t same, int v) { return static_cast<__mmask16>(same >> (16 * v)); }

// Adds the words of 16 numbers of a row that are not 0 to its list; `place` is the first one's.
SSLFAST_BF16 inline __attribute__((always_inline)) void append(__m256i rest, int64_t place, RestWord* list,
                                                               int32_t* count) {
  const __mmask8 some = _mm256_test_epi32_mask(rest, rest);
  const __m512i places = _mm512_add_epi64(_mm512_set1_epi64(place), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  const __m512i words = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(rest), 32), places);
  const int size = __builtin_popcount(some);
  _mm512_mask_storeu_epi64(list + *count, lanes(size), _mm512_maskz_compress_epi64(some, words));
  *count += size;
}

// kWhole: the columns are blocks of kBlock, which needs no masks.
template <bool kLabels, bool kWhole>
SSLFAST_BF16 void round_row(const float* weights, const float* col_factors, const RoundedWeights& to, int64_t i) {
  const int64_t cols = to.cols;
  const float* row = weights + i * cols;
  uint16_t* out = to.by_row + i * RoundedWeights::even(cols);
  const uint64_t* marks = kLabels ? to.same_label + i * RoundedWeights::mark_words(cols) : nullptr;
  const __m512 one = _mm512_set1_ps(1.0f);
  Largest largest[kVectors]{};
  for (int64_t j = 0; j < cols; j += kBlock) {
    const uint64_t same = kLabels ? marks[j / kBlock] : 0;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = kWhole ? 0xffff : lanes(cols - at);
      const __m512 factors = col_factors ? _mm512_maskz_loadu_ps(mask, col_factors + at) : one;
      take(largest[v], _mm512_maskz_loadu_ps(mask, row + at), factors, mask & ~marks_of(same, v));
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
  if constexpr (kLabels) to.row_counts[i] = 0;
  for (int64_t j = 0; j < cols; j += kBlock) {
    const uint64_t same = kLabels ? marks[j / kBlock] : 0;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = j + 16 * v;
      const __mmask16 mask = kWhole ? 0xffff : lanes(cols - at);
      const __mmask16 even = kWhole ? 0xffff : lanes(RoundedWeights::even(cols - at));
      const __m512 factors =
          col_factors ? _mm512_mul_ps(inverse, _mm512_maskz_loadu_ps(mask, col_factors + at)) : inverse;
      const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + at), factors);
      const __m256i nearest = rounded(scaled);
      _mm256_mask_storeu_epi16(out + at, even, nearest);
      if (!kLabels || marks_of(same, v) == 0) continue;
      append(rest_of(scaled, nearest, marks_of(same, v)), at / 2, to.row_rest + i * RoundedWeights::rest_words(cols),
             to.row_counts + i);
    }
  }
}

// kBlock columns from column j.
template <bool kLabels, bool kWhole>
SSLFAST_BF16 void round_columns(const float* weights, const float* row_factors, const RoundedWeights& to, int64_t j) {
  const int64_t rows = to.rows, cols = to.cols, stride = RoundedWeights::column_stride(cols);
  const int64_t rest_words = RoundedWeights::rest_words(rows), mark_words = RoundedWeights::mark_words(cols);
  const uint64_t* marks = kLabels ? to.same_label + j / kBlock : nullptr;
  const __m512 one = _mm512_set1_ps(1.0f);
  const float* column = weights + j;
  uint16_t* out = to.by_column + 2 * j;
  __mmask16 mask[kVectors];
  Largest largest[kVectors]{};
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) mask[v] = kWhole ? 0xffff : lanes(cols - j - 16 * v);
  for (int64_t i = 0; i < rows; ++i) {
    const __m512 factor = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
    const uint64_t same = kLabels ? marks[i * mark_words] : 0;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 numbers = _mm512_maskz_loadu_ps(mask[v], column + i * cols + 16 * v);
      take(largest[v], numbers, factor, mask[v] & ~marks_of(same, v));
    }
  }
  __m512 inverse[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __m512 scale = scale_of(largest[v].product);
    inverse[v] = _mm512_div_ps(one, scale);
    _mm512_mask_storeu_ps(to.col_scales + j + 16 * v, mask[v], scale);
  }
  if constexpr (kLabels) std::fill_n(to.column_counts + j, std::min(kBlock, cols - j), 0);
  for (int64_t i = 0; i < rows; i += 2, out += stride) {
    const bool two = i + 1 < rows;
    const __m512 factor0 = row_factors ? _mm512_set1_ps(row_factors[i]) : one;
    const __m512 factor1 = row_factors && two ? _mm512_set1_ps(row_factors[i + 1]) : one;
    const uint64_t same0 = kLabels ? marks[i * mark_words] : 0;
    const uint64_t same1 = kLabels && two ? marks[(i + 1) * mark_words] : 0;
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
        if (marks_of(same0 | same1, v) == 0) continue;
        alignas(64) uint32_t numbers[16];
        const __m512i words =
            in_pairs(rest_of(scaled0, nearest0, marks_of(same0, v)), rest_of(scaled1, nearest1, marks_of(same1, v)));
        _mm512_store_si512(numbers, words);
        for (uint32_t some = _mm512_test_epi32_mask(words, words); some != 0; some &= some - 1) {
          const int lane = __builtin_ctz(some);
          const int64_t list = j + 16 * v + lane;
          to.column_rest[list * rest_words + to.column_counts[list]++] = {static_cast<uint32_t>(i / 2), numbers[lane]};
        }
      }
    }
  }
}

}  // namespace

bool mark_labels(const int32_t* row_labels, const int32_t* col_labels, int64_t rows, int64_t cols, uint64_t* marks,
                 int threads) {
  uint64_t some = 0;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows > 16) reduction(| : some)
  for (int64_t i = 0; i < rows; ++i) {
    some |= mark_row(row_labels[i], col_labels, cols, marks + i * RoundedWeights::mark_words(cols));
  }
  return some != 0;
}

void round_by_row(const float* weights, const float* col_factors, const RoundedWeights& to, int threads) {
  const bool whole = to.cols % kBlock == 0;
  const auto round = to.same_label ? (whole ? round_row<true, true> : round_row<true, false>)
                                   : (whole ? round_row<false, true> : round_row<false, false>);
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.rows > 16)
  for (int64_t i = 0; i < to.rows; ++i) {
    round(weights, col_factors, to, i);
  }
}

void round_by_column(const float* weights, const float* row_factors, const RoundedWeights& to, int threads) {
  const bool whole = to.cols % kBlock == 0;
  const auto round = to.same_label ? (whole ? round_columns<true, true> : round_columns<true, false>)
                                   : (whole ? round_columns<false, true> : round_columns<false, false>);
#pragma omp parallel for num_threads(threads) if (threads > 1 && to.cols > kBlock)
  for (int64_t j = 0; j < to.cols; j += kBlock) {
    round(weights, row_factors, to, j);
  }
}

}  // namespace sslfast::cpu

#else

namespace sslfast::cpu {

bool mark_labels(const int32_t*, const int32_t*, int64_t, int64_t, uint64_t*, int) { return false; }
void round_by_row(const float*, const float*, const RoundedWeights&, int) {}
void round_by_column(const float*, const float*, const RoundedWeights&, int) {}

}  // namespace sslfast::cpu

#endif
