// SupCon and NT-Xent with many positives of a small batch, from the whole matrix of logits.
//
// P(i) are the columns of row i's label, other rows or references. SupCon: the mean over rows with a positive of lse_i
// - mean of S_ip, lse_i over all columns; with a single positive softplus(n_i - S_ip), n_i over the other labels, which
// is the same. With many positives: the mean over pairs of softplus(n_i - S_ip). Weights of a row in its gradient, w
// share:
//   each pair by itself: w sum_p sigmoid(n_i - S_ip) exp(S_ij - n_i) of other labels, -w sigmoid(n_i - S_ip) of p,
//   else w (exp(S_ij - lse_i) - [j in P(i)] / |P(i)|).
#pragma once

#include "sslfast/labelled_rows.h"

namespace sslfast {

// T is float or double.
template <typename T>
struct LabelSoftmax : LabelledRows<T> {  // of unit rows
  double scale;
  bool each_positive;  // many positives, each by itself
  bool need_grad;
  T* logits;  // (rows, columns): S; overwritten, with need_grad by the weights in the gradient, W, or W + W^T among the
              // rows
  T* loss;    // one number
};

namespace cpu {

// Instantiated for float and double. Results do not depend on the number of threads.
template <typename T>
void label_softmax(const LabelSoftmax<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
