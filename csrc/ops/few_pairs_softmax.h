// The softmax losses of few pairs, all of whose logits are held at once: those of rows, or of rows and columns.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "few_pairs_options.h"
#include "sslfast/cross_softmax.h"
#include "sslfast/few_pairs.h"
#include "sslfast/sigmoid_pairs.h"
#include "tile_products.h"

namespace sslfast::ops {

// scale and bias are what a tensor of T would hold. As members they are: g++ 12 at -O3 loses a conversion of both to
// float and back to double.
template <typename T>
struct PairRequest {
  T scale, bias;
  int64_t kind;
  double share;
  bool normalize, need_rows, need_columns, need_scale, need_bias, each;
  const PairOptions& options;

  bool two_way() const { return kind == kTwoWays; }
  bool need_products() const { return need_rows || (need_scale && kind != kSigmoid); }
  const T* factors() const { return options.factors ? options.factors->const_data_ptr<T>() : nullptr; }
};

// Vectors of a number for each of n rows or m columns, and scratch for the tile. limits are allowances above the
// similarities of positives, and then logits; across (n, n) is for the columns' logits where these are apart from the
// rows', or null; losses (n) are a result, or null.
template <typename T>
struct PairVectors {
  T *row_norm, *row_shift, *row_lse, *row_shares, *positive, *weights, *limits, *debiased, *col_norm, *col_shift,
      *col_lse, *col_shares, *scratch, *across, *losses;

  static int64_t size(int64_t n, int64_t m, bool apart) {
    return 8 * n + 4 * m + cpu::cross_scratch(n, m) + (apart ? n * n : 0);
  }
  PairVectors(T* x, int64_t n, int64_t m, bool apart, T* losses)
      : row_norm(x),
        row_shift(x + n),
        row_lse(x + 2 * n),
        row_shares(x + 3 * n),
        positive(x + 4 * n),
        weights(x + 5 * n),
        limits(x + 6 * n),
        debiased(x + 7 * n),
        col_norm(x + 8 * n),
        col_shift(col_norm + m),
        col_lse(col_norm + 2 * m),
        col_shares(col_norm + 3 * m),
        scratch(col_norm + 4 * m),
        across(apart ? scratch + cpu::cross_scratch(n, m) : nullptr),
        losses(losses) {}
};

// Losses of lse, each over `count` negatives, debiased first: adds the sum, and what the scale gets through the least
// sums, and writes the shares and adds to the weights of positives.
template <typename T>
void debiased_losses(const PairVectors<T>& v, const PairRequest<T>& r, int64_t n, int64_t count, const T* lse,
                     T* shares, PairSums& sums) {
  std::vector<double> slopes(n);
  const double scale = r.scale;
  cpu::debias_pairs(DebiasedPairs<T>{lse, v.positive, n, count, r.options.tau_plus, scale, v.debiased, slopes.data()});
  sums.loss += cpu::pair_losses(
      PairLosses<T>{v.debiased, v.positive, n, static_cast<T>(r.share), shares, v.weights, r.factors(), v.losses});
  for (int64_t i = 0; i < n; ++i) {
    const double share = shares[i];
    if (slopes[i] == 0) {
      sums.scale -= std::copysign(1.0, scale) * share / r.share;  // factors of gradients may be negative
    } else {
      v.weights[i] += static_cast<T>(share * (1 - slopes[i]));
    }
    shares[i] = static_cast<T>(share * slopes[i]);
  }
}

// Rows that pick their positives among the columns of a tile, and what is found of them.
template <typename T>
struct PairWay {
  CrossTile<T> tile;
  T *shift, *lse, *shares;
  std::vector<uint8_t> counts{};
  std::vector<int64_t> others{};
  std::vector<T> spread_by{};

  // Which negatives label smoothing is over, before those that the tile leaves out look like logits of -inf.
  void count(const PairVectors<T>& v, const PairRequest<T>& r, int threads) {
    counts.resize(tile.rows * tile.cols);
    others.resize(tile.rows);
    spread_by.resize(tile.rows);
    cpu::count_candidates(tile.logits, tile.excluded, smoothing(v, r), threads);
  }
  // Label smoothing over what counts: returns what it adds, and adds to the weights of positives.
  double smooth(const PairVectors<T>& v, const PairRequest<T>& r, int threads) {
    return cpu::smooth_counted(tile.logits, smoothing(v, r), threads);
  }
  // The same, of the weights that the logits have been turned into.
  void spread(const PairVectors<T>& v, const PairRequest<T>& r, int threads) {
    cpu::spread_counted(smoothing(v, r), tile.logits, threads);
  }

 private:
  CountedSmoothing<T> smoothing(const PairVectors<T>& v, const PairRequest<T>& r) {
    const double e = r.options.smoothing;
    return {v.positive, r.factors(),   tile.rows,     tile.cols,        e,
            r.share,    counts.data(), others.data(), spread_by.data(), v.weights};
  }
};

// Turns products with the scale into weights, all of them times share but that of positives, and adds up the losses.
template <typename Products, typename T>
void few_pairs_softmax(const Products& products, const CrossTile<T>& tile, const PairVectors<T>& v,
                       const PairRequest<T>& r, bool need_weights, int threads, PairSums& sums) {
  const int64_t n = tile.rows, m = tile.cols;
  const bool two_way = r.two_way(), bounded = r.normalize && std::fabs(static_cast<double>(r.scale)) <= kLogitBound;
  const T start = bounded ? T(0) : -std::numeric_limits<T>::infinity();
  products.logits({0, n, 0, m}, tile.logits, r.scale, r.scale);
  products.pair_logits(tile.excluded.positives, r.scale, v.positive);
  if (r.options.margin) {
    for (int64_t i = 0; i < n; ++i) v.limits[i] = v.positive[i] + r.scale * v.limits[i];
  }
  std::fill_n(v.row_shift, n, start);
  std::fill_n(v.col_shift, m, start);
  std::fill_n(v.row_lse, n, T(0));
  std::fill_n(v.col_lse, m, T(0));
  std::fill_n(v.weights, n, T(0));
  if (v.losses != nullptr) std::fill_n(v.losses, n, T(0));
  // Columns that leave out others of the rows than these of them take a tile of their own, as rows.
  const bool joint = two_way && v.across == nullptr;
  const Excluded<T>& out = tile.excluded;
  const Excluded<T> out_across{out.positives, out.col_ids, out.row_ids, out.row_limits};
  PairWay<T> ways[] = {{tile, v.row_shift, v.row_lse, v.row_shares},
                       {CrossTile<T>{v.across, n, n, 0, 0, out_across}, v.col_shift, v.col_lse, v.col_shares}};
  const int tiles = v.across != nullptr ? 2 : 1;
  const bool counted = r.options.smooths_counted(r.kind, n, m);
  if (tiles == 2) cpu::transpose(tile.logits, m, v.across, n, n, false, threads);
  for (int i = 0; i < tiles; ++i) {
    const CrossSums<T> found{ways[i].shift, ways[i].lse, joint ? v.col_shift : nullptr, joint ? v.col_lse : nullptr,
                             v.scratch,     bounded};
    if (counted) ways[i].count(v, r, threads);
    cpu::cross_forward_tile(ways[i].tile, found, threads);
  }
  const auto losses = [&](const T* shift, T* lse, T* shares, int64_t others) {
    for (int64_t i = 0; i < n; ++i) lse[i] = shift[i] + std::log(lse[i]);
    if (r.options.tau_plus > 0 && others > 0) return debiased_losses(v, r, n, others, lse, shares, sums);
    sums.loss += cpu::pair_losses(
        PairLosses<T>{lse, v.positive, n, static_cast<T>(r.share), shares, v.weights, r.factors(), v.losses});
  };
  losses(v.row_shift, v.row_lse, v.row_shares, m - 1);
  if (two_way) losses(v.col_shift, v.col_lse, v.col_shares, n - 1);
  for (int i = 0; i < tiles; ++i) {
    PairWay<T>& way = ways[i];
    if (counted) sums.loss += way.smooth(v, r, threads);
    if (!need_weights) continue;
    const CrossGrads<T> grads{way.lse,   way.shares, joint ? v.col_lse : nullptr, joint ? v.col_shares : nullptr,
                              v.scratch, {}};
    cpu::cross_backward_tile(way.tile, grads, threads);
    if (counted) way.spread(v, r, threads);
  }
  if (need_weights && tiles == 2) cpu::transpose(v.across, n, tile.logits, m, n, true, threads);
}

}  // namespace sslfast::ops
