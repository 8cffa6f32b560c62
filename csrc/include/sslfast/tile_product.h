// Matrix products of bf16 or of float32 with float32 sums, for CPUs that multiply pairs of bf16 (AVX512_BF16). torch's
// product of bf16 rounds its result to bf16, which is too coarse for logits at a small temperature.
#pragma once

#include <cstdint>

namespace sslfast::cpu {

// Whether this CPU has the instructions; no product here may be called where it has not.
bool has_bf16_product();

// Whether product() of float32 is also the fastest there is: on AMD's CPUs torch's library stops at AVX2.
bool has_float_product();

// Words, a float or two bf16 numbers, along the depth that a product takes at once, and columns.
constexpr int64_t kDepthAtOnce = 256, kColumnsAtOnce = 64;

// A word that is not zero of the second part of a factor: its place in its row, and its two numbers.
struct RestWord {
  uint32_t place, numbers;
};

// A factor of a product; T is float, or uint16_t for bf16. Element (i, k) of a left one, k along the depth of the
// product, is data[i * row_stride + k * depth_stride]; a bf16 one has depth_stride 1, or is a tile of weights.
//
// A tile of weights, of at most kDepthAtOnce words a row, may have a second part that is added to it and nearly all
// zero: of every row a list of words, with place for RoundedWeights::rest_words(depth).
template <typename T>
struct LeftFactor {
  const T* data;
  int64_t row_stride, depth_stride;
  const RestWord* rest = nullptr;
  const int32_t* rest_counts = nullptr;  // words in every row's list; or null, and no second part
};

// Element (k, j) is data[k * stride + j] or, transposed, data[j * stride + k]. A product reads it in panels, which it
// packs, unless pack() did that already: for a factor of several products.
template <typename T>
struct RightFactor {
  const T* data;
  int64_t stride;
  bool transposed;
  const int32_t* packed = nullptr;  // or what pack() made of this factor, for the same depth and columns

  // Panels beside each other, and below each other.
  static constexpr int64_t panels(int64_t cols) { return (cols + kColumnsAtOnce - 1) / kColumnsAtOnce; }
  static constexpr int64_t steps(int64_t depth) {
    constexpr int64_t kNumbers = kDepthAtOnce * 4 / sizeof(T);
    return (depth + kNumbers - 1) / kNumbers;
  }
  static constexpr int64_t packed_size(int64_t depth, int64_t cols) {
    return panels(cols) * steps(depth) * kDepthAtOnce * kColumnsAtOnce;
  }
};

// What a product is multiplied by, whether it is added to what is there, and whether its sums are to be off by about a
// third of what they are otherwise, or less.
struct Scaling {
  double factor;
  bool add;
  const float *by_row = nullptr, *by_column = nullptr;  // and by these; null for 1
  bool fine = false;
};

// out (rows, cols), of rows `stride` apart, <- scaled left right. The sums are taken in an order that does not depend
// on the number of threads.
void product(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<float>& left,
             const RightFactor<float>& right, const Scaling& scaling, int threads);
void product(float* out, int64_t stride, int64_t rows, int64_t cols, int64_t depth, const LeftFactor<uint16_t>& left,
             const RightFactor<uint16_t>& right, const Scaling& scaling, int threads);

// packed <- all panels of a factor (depth, cols), packed_size() words.
void pack(const RightFactor<float>& right, int64_t depth, int64_t cols, int32_t* packed, int threads);
void pack(const RightFactor<uint16_t>& right, int64_t depth, int64_t cols, int32_t* packed, int threads);

// A tile of weights rounded to bf16, for the products with both sides. Pairs lie along a row in by_row, (rows, cols)
// with cols rounded up to even, and along a column in by_column: numbers (2p, j) and (2p + 1, j) follow each other at
// by_column + p * stride + 2 * j. What is filled up is zero. Each row of by_row, and each column of by_column, is
// divided by a scale with which its largest weight has a long mantissa: the product is to be multiplied by it.
//
// Weights whose row and column are of one label keep what rounding took off, too, as the second part of either factor;
// the scale is for the others.
struct RoundedWeights {
  uint16_t *by_row, *by_column;
  float *row_scales, *col_scales;  // (rows), (cols)
  int64_t rows, cols;
  const uint64_t* same_label = nullptr;                     // see mark_labels; or null, and no second parts
  RestWord *row_rest = nullptr, *column_rest = nullptr;     // (rows, rest_words(cols)) and (cols, rest_words(rows))
  int32_t *row_counts = nullptr, *column_counts = nullptr;  // (rows) and (cols)

  static constexpr int64_t even(int64_t n) { return (n + 1) / 2 * 2; }
  // A row of pairs is longer than the tile's by a cache line: pairs below each other lie in different sets of the
  // cache.
  static constexpr int64_t column_stride(int64_t cols) { return 2 * ((cols + 15) / 16 * 16 + 16); }
  // Numbers in the buffers of a tile, and words of a list of the second part, whole vectors of 16 numbers.
  static constexpr int64_t row_size(int64_t rows, int64_t cols) { return rows * even(cols); }
  static constexpr int64_t column_size(int64_t rows, int64_t cols) { return even(rows) / 2 * column_stride(cols); }
  static constexpr int64_t rest_words(int64_t depth) { return (depth + 15) / 16 * 8; }
  // 64-bit numbers that mark the columns of a row.
  static constexpr int64_t mark_words(int64_t cols) { return (cols + 63) / 64; }

  LeftFactor<uint16_t> left() const { return {by_row, even(cols), 1, row_rest, same_label ? row_counts : nullptr}; }
  LeftFactor<uint16_t> left_transposed() const {
    return {by_column, 2, column_stride(cols) / 2, column_rest, same_label ? column_counts : nullptr};
  }
};

// Of every row of a tile, mark_words bits: which columns are of its label. Returns whether there is one.
bool mark_labels(const int32_t* row_labels, const int32_t* col_labels, int64_t rows, int64_t cols, uint64_t* marks,
                 int threads);

// Fill by_row and row_scales, by_column and col_scales. Before they are rounded, weights by row are multiplied by the
// factors of their columns, and weights by column by those of their rows, where these are not null.
void round_by_row(const float* weights, const float* col_factors, const RoundedWeights& rounded, int threads);
void round_by_column(const float* weights, const float* row_factors, const RoundedWeights& rounded, int threads);

}  // namespace sslfast::cpu
