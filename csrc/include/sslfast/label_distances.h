// The contrastive loss with margins and the triplet loss of a small batch, from the whole matrix of distances.
//
// d_ij = |x_i - y_j|, its square, or -<x_i, y_j> of row i and column j, one of the other rows or a reference; p are the
// columns of row i's label, n those of other labels.
//   pairs: mean max(0, d_ip - margin) + mean max(0, neg_margin - d_in), or of their squares;
//   hardest: max(0, d_ip - d_in + margin) of the farthest p and the nearest n of each row, the first of equals; d_pn in
//     the place of d_in where it is smaller, or softplus, where asked;
//   all: of all p and n; semi-hard: where d_ip < d_in < d_ip + margin.
// The gradient is sum_ij W_ij dd_ij: products with W of pairs and of all triplets, whose weights are whole numbers;
// few pairs, and the hardest, one by one from the difference of their rows, which keeps the digits of small distances.
#pragma once

#include <cstdint>
#include <vector>

#include "sslfast/labelled_rows.h"

namespace sslfast {

enum class LabelTerms : int64_t { kPairs, kHardest, kAll, kSemiHard };
enum class Distance : int64_t { kEuclidean, kSquared, kCosine };
enum class Reduction : int64_t { kMeanNonzero, kMean, kSum };

// T is float or double.
template <typename T>
struct LabelDistances : LabelledRows<T> {
  LabelTerms terms;
  Distance distance;
  Reduction reduction;
  T margin, neg_margin;
  bool squared, swap, smooth;  // the first of pairs, the others of the hardest
  bool need_grad;
  T* centred;  // like points, about their mean
  T* square;  // (rows, columns): -2 <centred, centred>, or -<points, points>; overwritten, where they make the gradient
              // by the weights W, W + W^T among the rows, each over its distance where that is a root
  T* loss;    // one number
};

// w (x_i - x_j) of two points, to be added to the gradient of x_i and taken from that of x_j; -w x_j and -w x_i with
// kCosine.
template <typename T>
struct Pull {
  int32_t i, j;
  T weight;
};

// What is still to be made of a loss that is ready: the gradient is share * (that of the weights + that of the pulls).
template <typename T>
struct LabelGradient {
  bool dense = false;  // whether there are weights
  T share = 1;
  std::vector<Pull<T>> pulls = {};
};

namespace cpu {

// Instantiated for float and double. Results do not depend on the number of threads.

// Fills centred.
template <typename T>
void centre_points(const LabelDistances<T>& p, int threads);
// Fills loss, NaN where a distance is not finite, and square by the weights.
template <typename T>
LabelGradient<T> label_distances(const LabelDistances<T>& p, int threads);
// The same for triplets, with square filled by distances, squared ones for the hardest.
template <typename T>
LabelGradient<T> label_triplets(const LabelDistances<T>& p, int threads);
// grad (learning, width), of the first points; to be given minus the product of the weights with the centred points, or
// zeros.
template <typename T>
void label_pulls(const LabelDistances<T>& p, const LabelGradient<T>& found, int64_t learning, T* grad, int threads);

}  // namespace cpu
}  // namespace sslfast
