// The products of a tile of similarities of rows Q (N, D) with columns K (M, D): logits from both sides, and a tile of
// weights back to either side. Three ways to take them, with one face: torch's product, and those of csrc/cpu for
// float32 and for bf16, where this CPU is made for them. with_products picks one. Memory beside the tile: for bf16 its
// rounded weights, and for products with columns its rows as they read them, at most 8 MiB.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>

#include "matrix.h"
#include "sslfast/label_shares.h"
#include "sslfast/positive_pairs.h"
#include "sslfast/tile_product.h"
#include "sslfast/unit_rows.h"

namespace sslfast::ops {

// Rows and columns, and, for bf16 ones, what to multiply them by, float32 (N,) and (M,): what makes unit vectors of
// them would have to be rounded again if they came as such.
struct Sides {
  const Tensor &rows, &columns;
  const std::optional<Tensor>&row_factors, &col_factors;

  bool same_numbers() const {
    return rows.const_data_ptr() == columns.const_data_ptr() && rows.size(0) == columns.size(0);
  }
  // Also as wide numbers: rows may be made unit where columns, a queue say, are taken as they are.
  bool same() const { return same_numbers() && numbers(row_factors) == numbers(col_factors); }
  static const float* numbers(const std::optional<Tensor>& t) { return t ? t->const_data_ptr<float>() : nullptr; }

  void check() const {
    const ScalarType type = rows.scalar_type();
    ops::check(type == ScalarType::BFloat16 || type == ScalarType::Float || type == ScalarType::Double,
               "sslfast: rows must be bfloat16, float32 or float64");
    const auto fits = [&](const std::optional<Tensor>& t, int64_t size) {
      return !t || (type == ScalarType::BFloat16 && t->is_cpu() && t->scalar_type() == ScalarType::Float &&
                    t->dim() == 1 && t->is_contiguous() && t->size(0) == size);
    };
    ops::check(fits(row_factors, rows.size(0)) && fits(col_factors, columns.size(0)),
               "sslfast: factors must be float32, one a row or column, and go with bfloat16");
  }
};

struct TilePlace {
  int64_t row0, rows, col0, cols;
};

// Logits of a larger scale, of temperatures below 0.067, take finer sums: they are off by the similarities' errors
// times the scale.
constexpr double kFineScale = 15;

// Tiles are contiguous. Sums go to the tile's slab of all rows, or of all columns.
template <typename T>
class TorchProducts {
 public:
  using Number = T;

  explicit TorchProducts(const Sides& sides)
      : q_(sides.rows.const_data_ptr<T>()),
        k_(sides.columns.const_data_ptr<T>()),
        n_(sides.rows.size(0)),
        d_(sides.rows.size(1)) {}

  // tile <- factor * Q K^T; scale: what it is multiplied by in all, now or later
  void logits(const TilePlace& t, T* tile, double factor, double /*scale*/) const {
    product(matrix(tile, t.rows, t.cols, t.cols, 1), slab(q_, t.row0, t.rows, d_),
            slab_transposed(k_, t.col0, t.cols, d_), 0, factor);
  }
  // To be called between a change of the weights and the products with them, the ones to come; with labels, those of
  // the tile, where what is of one label is not to be rounded.
  void weigh(const TilePlace&, const T*, bool /*for_rows*/, bool /*for_columns*/, const LabelShares<T>& = {}) {}
  // sums (N, D) of all rows <- sums, if they are to be added to, + factor * weights K
  void to_rows(const TilePlace& t, const T* weights, T* sums, double factor, bool add) const {
    product(slab(sums, t.row0, t.rows, d_), matrix(weights, t.rows, t.cols, t.cols, 1), slab(k_, t.col0, t.cols, d_),
            add, factor);
  }
  // sums (M, D) of all columns <- sums, if they are to be added to, + factor * weights^T Q
  void to_columns(const TilePlace& t, const T* weights, T* sums, double factor, bool add) const {
    product(slab(sums, t.col0, t.cols, d_), matrix(weights, t.cols, t.rows, 1, t.cols), slab(q_, t.row0, t.rows, d_),
            add, factor);
  }
  // logits_i <- factor <q_i, k of positives_i>, finer than in a tile
  void pair_logits(const int64_t* positives, double factor, T* logits) const {
    cpu::pair_logits(PositivePairs<T, T>{q_, k_, nullptr, nullptr, positives, nullptr, n_, d_}, factor, logits,
                     static_cast<int>(torch::stable::get_num_threads()));
  }
  // Adds what factor * weights of the pairs (i, positives_i), which no tile holds, make; null for sums not needed.
  void add_pairs(const int64_t* positives, const T* weights, double factor, T* row_sums, T* col_sums) const {
    cpu::add_pairs(PositivePairs<T, T>{q_, k_, nullptr, nullptr, positives, weights, n_, d_}, factor, row_sums,
                   col_sums, static_cast<int>(torch::stable::get_num_threads()));
  }

 private:
  const T *q_, *k_;
  int64_t n_, d_;
};

// E is the type of the sides: float, or uint16_t for bf16. Results are float, and do not depend on the threads.
template <typename E>
class TileProducts {
 public:
  using Number = float;
  static constexpr bool kRounds = std::is_same_v<E, uint16_t>;

  TileProducts(const Sides& sides, int64_t tile_rows, int64_t tile_cols, bool labelled)
      : like_(sides.rows),
        q_(static_cast<const E*>(sides.rows.const_data_ptr())),
        k_(static_cast<const E*>(sides.columns.const_data_ptr())),
        row_factors_(Sides::numbers(sides.row_factors)),
        col_factors_(Sides::numbers(sides.col_factors)),
        n_(sides.rows.size(0)),
        m_(sides.columns.size(0)),
        d_(sides.rows.size(1)),
        threads_(static_cast<int>(torch::stable::get_num_threads())),
        by_row_(scratch(cpu::RoundedWeights::row_size(tile_rows, tile_cols), kShort, sides.rows)),
        by_column_(scratch(cpu::RoundedWeights::column_size(tile_rows, tile_cols), kShort, sides.rows)),
        marks_(scratch(labelled ? tile_rows * cpu::RoundedWeights::mark_words(tile_cols) : 0, ScalarType::Long,
                       sides.rows)),
        row_rest_(labelled, tile_rows, tile_cols, sides.rows),
        column_rest_(labelled, tile_cols, tile_rows, sides.rows),
        row_scales_(scratch(tile_rows, ScalarType::Float, sides.rows)),
        col_scales_(scratch(tile_cols, ScalarType::Float, sides.rows)) {}

  void logits(const TilePlace& t, float* tile, double factor, double scale) const {
    cpu::product(tile, t.cols, t.rows, t.cols, d_, cpu::LeftFactor<E>{q_ + t.row0 * d_, d_, 1},
                 cpu::RightFactor<E>{k_ + t.col0 * d_, d_, true},
                 {factor, false, at(row_factors_, t.row0), at(col_factors_, t.col0), std::fabs(scale) > kFineScale},
                 threads_);
  }
  void weigh(const TilePlace& t, const float* weights, bool for_rows, bool for_columns,
             const LabelShares<float>& labels = {}) {
    if constexpr (kRounds) {
      marked_ = labels.row_labels != nullptr && cpu::mark_labels(labels.row_labels, labels.col_labels, t.rows, t.cols,
                                                                 numbers<uint64_t>(marks_), threads_);
      if (for_rows) cpu::round_by_row(weights, at(col_factors_, t.col0), rounded(t), threads_);
      if (for_columns) cpu::round_by_column(weights, at(row_factors_, t.row0), rounded(t), threads_);
    }
  }
  void to_rows(const TilePlace& t, const float* weights, float* sums, double factor, bool add) {
    cpu::LeftFactor<E> left{};
    cpu::Scaling scaling{factor, add};
    if constexpr (kRounds) {
      left = rounded(t).left();
      scaling.by_row = rounded(t).row_scales;
    } else {
      left = {weights, t.cols, 1};
    }
    cpu::product(sums + t.row0 * d_, d_, t.rows, d_, t.cols, left, cpu::RightFactor<E>{k_ + t.col0 * d_, d_, false},
                 scaling, threads_);
  }
  void to_columns(const TilePlace& t, const float* weights, float* sums, double factor, bool add) {
    cpu::LeftFactor<E> left{};
    cpu::Scaling scaling{factor, add};
    if constexpr (kRounds) {
      left = rounded(t).left_transposed();
      scaling.by_row = rounded(t).col_scales;
    } else {
      left = {weights, 1, t.cols};
    }
    cpu::product(sums + t.col0 * d_, d_, t.cols, d_, t.rows, left, rows_on_the_right(t), scaling, threads_);
  }
  void pair_logits(const int64_t* positives, double factor, float* logits) const {
    cpu::pair_logits(PositivePairs<E, float>{q_, k_, row_factors_, col_factors_, positives, nullptr, n_, d_}, factor,
                     logits, threads_);
  }
  void add_pairs(const int64_t* positives, const float* weights, double factor, float* row_sums,
                 float* col_sums) const {
    cpu::add_pairs(PositivePairs<E, float>{q_, k_, row_factors_, col_factors_, positives, weights, n_, d_}, factor,
                   row_sums, col_sums, threads_);
  }

 private:
  static constexpr ScalarType kShort = ScalarType::Short;  // bits of bf16
  static constexpr int64_t kMostPacked = 1 << 21;          // words

  static const float* at(const float* factors, int64_t begin) { return factors ? factors + begin : nullptr; }

  // What rounding needs: an allocation costs a small batch about a microsecond.
  static Tensor scratch(int64_t size, ScalarType dtype, const Tensor& like) {
    return kRounds && size > 0 ? empty({size}, dtype, like) : Tensor();
  }

  template <typename Number>
  static Number* numbers(const Tensor& t) {
    return static_cast<Number*>(t.mutable_data_ptr());
  }

  // The rows of a tile as the right factor. Tiles that have the same follow each other: these are packed once.
  cpu::RightFactor<E> rows_on_the_right(const TilePlace& t) {
    cpu::RightFactor<E> right{q_ + t.row0 * d_, d_, false};
    const int64_t size = right.packed_size(t.rows, d_);
    if (t.cols == m_ || size > kMostPacked) return right;
    if (size > packed_size_) {
      packed_ = empty({size}, ScalarType::Int, like_);
      packed_size_ = size;
    }
    if (t.row0 != packed_row0_ || t.rows != packed_rows_) {
      cpu::pack(right, t.rows, d_, numbers<int32_t>(packed_), threads_);
      packed_row0_ = t.row0;
      packed_rows_ = t.rows;
    }
    right.packed = numbers<int32_t>(packed_);
    return right;
  }

  // Lists of what rounding took off weights of one label. A word of a list is as long as an int64.
  struct Rest {
    Rest(bool labelled, int64_t rows, int64_t depth, const Tensor& like) {
      ops::check(!kRounds || !labelled || depth <= 2 * cpu::kDepthAtOnce, "sslfast: a tile with labels is too large");
      words = scratch(labelled ? rows * cpu::RoundedWeights::rest_words(depth) : 0, ScalarType::Long, like);
      counts = scratch(labelled ? rows : 0, ScalarType::Int, like);
    }
    Tensor words, counts;
  };

  cpu::RoundedWeights rounded(const TilePlace& t) const {
    cpu::RoundedWeights weights{numbers<uint16_t>(by_row_),
                                numbers<uint16_t>(by_column_),
                                numbers<float>(row_scales_),
                                numbers<float>(col_scales_),
                                t.rows,
                                t.cols};
    if (!marked_) return weights;
    weights.same_label = numbers<uint64_t>(marks_);
    weights.row_rest = numbers<cpu::RestWord>(row_rest_.words);
    weights.column_rest = numbers<cpu::RestWord>(column_rest_.words);
    weights.row_counts = numbers<int32_t>(row_rest_.counts);
    weights.column_counts = numbers<int32_t>(column_rest_.counts);
    return weights;
  }

  Tensor like_;
  const E *q_, *k_;
  const float *row_factors_, *col_factors_;
  int64_t n_, m_, d_;
  int threads_;
  bool marked_ = false;  // whether weights of the tile at hand are of one label
  Tensor by_row_, by_column_, marks_;
  Rest row_rest_, column_rest_;
  Tensor row_scales_, col_scales_, packed_;
  int64_t packed_size_ = 0, packed_row0_ = 0, packed_rows_ = 0;
};

// A float32 copy of bf16 rows, multiplied by their factors.
inline Tensor widened(const Tensor& x, const std::optional<Tensor>& factors) {
  Tensor wide = empty({x.size(0), x.size(1)}, ScalarType::Float, x);
  cpu::widen_rows(static_cast<const Brain16*>(x.const_data_ptr()), Sides::numbers(factors), x.size(0), x.size(1),
                  wide.mutable_data_ptr<float>(), static_cast<int>(torch::stable::get_num_threads()));
  return wide;
}

// Type of the sums and results for sides of a type.
inline ScalarType sum_type(ScalarType side) {
  return side == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Narrower bf16 rows are widened, and multiplied as they are on CPUs without the instructions: their products cost next
// to nothing, and the rounding of weights shows more in gradients of few numbers.
constexpr int64_t kLeastDepth = 8;

// So are fewer than 64 bf16 rows or columns beside so few that they cost little, or 128 with one another, as two views
// have, where weights come: few weights are few roundings, which may all be off the same way.
inline bool are_few(const Sides& sides) {
  constexpr int64_t kFew = 64, kFewTogether = 4 * kFew;
  const int64_t n = sides.rows.size(0), m = sides.columns.size(0);
  return n + m < kFewTogether && (sides.same_numbers() || std::min(n, m) < kFew);
}

// Returns run(products), with the products for the sides' type and width and for this CPU. Tiles have at most
// tile_rows x tile_cols numbers; 0 where no weights come. labelled: whether weights come with labels.
template <typename Run>
auto with_products(const Sides& sides, int64_t tile_rows, int64_t tile_cols, Run run, bool labelled = false) {
  if (sides.rows.scalar_type() == ScalarType::Double) {
    TorchProducts<double> products(sides);
    return run(products);
  }
  const bool narrow = sides.rows.size(1) < kLeastDepth;
  if (sides.rows.scalar_type() == ScalarType::BFloat16) {
    if (cpu::has_bf16_product() && !narrow && !(tile_rows > 0 && are_few(sides))) {
      TileProducts<uint16_t> products(sides, tile_rows, tile_cols, labelled);
      return run(products);
    }
    const std::optional<Tensor> none;
    const Tensor rows = widened(sides.rows, sides.row_factors);
    const Tensor columns = sides.same() ? rows : widened(sides.columns, sides.col_factors);
    return with_products(Sides{rows, columns, none, none}, tile_rows, tile_cols, run, labelled);
  }
  if (cpu::has_float_product() && !narrow) {
    TileProducts<float> products(sides, tile_rows, tile_cols, labelled);
    return run(products);
  }
  TorchProducts<float> products(sides);
  return run(products);
}

}  // namespace sslfast::ops
