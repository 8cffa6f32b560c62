// Sigmoid losses of the pairs of rows (N, D) with columns (M, D): the epilogue of a tile of their inner products S.
// With Z = scale * S + bias, the pair (i, p(i)) costs log(1 + exp(-Z)) + spread * Z, every other one log(1 + exp(Z)) -
// spread * Z, the cross-entropies with targets 1 - spread and spread; and what is left out nothing.
#pragma once

#include "sslfast/excluded.h"
#include "sslfast/launch.h"

namespace sslfast {

// rows x cols inner products at (row0, col0) of S, contiguous; overwritten by the derivatives of the losses in Z,
// which at p(i) are 0: positive_weights has those, for PositivePairs.
template <typename T>
struct PairTile {
  T* products;
  int64_t rows, cols;  // cols is at most 2^31 - 1
  int64_t row0, col0;
  Excluded<T> excluded;  // by S; p(i), or -1 where a row has none, counts by itself, whatever its ids
  T* positive_weights;   // (N)
  T scale, bias;
  double* row_sums;  // scratch (3 * rows)
  T spread = 0;
};

// Sums over the tiles seen so far.
struct PairSums {
  double loss, scale, bias;  // the losses, and the derivatives of their sum in scale and in bias
};

namespace cpu {

void sigmoid_pairs_tile(const PairTile<float>& tile, PairSums& sums, int threads);
void sigmoid_pairs_tile(const PairTile<double>& tile, PairSums& sums, int threads);

}  // namespace cpu
}  // namespace sslfast
