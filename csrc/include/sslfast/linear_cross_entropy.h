// Cross-entropy of rows (N, D) against the classes of a linear layer (V, D), and its gradient in the same pass: the
// logits of a strip of rows with all classes are held together, so that the softmax of these rows is known whole and
// their logits are made once.
//
// The logit of a row's own class is kept apart from the sum over the others: of a small loss, and of its gradient,
// nothing is lost.
#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// What is done to logits, and what the loss of a row is made of: its cross-entropy nll_i and
// keep * nll_i + smoothing * sum_j c_j (lse_i - s_ij) + z_loss * lse_i^2, with the class weights c.
template <typename T>
struct ClassTerms {
  const T *bias, *class_weights;  // (V); null for 0, and for 1
  T softcap;                      // s = softcap * tanh(logit / softcap); 0 for s = logit
  T keep, smoothing, z_loss;
  T class_weight_sum;  // of c, of all classes
};

// The rows of a strip; each (rows), beginning at its first row.
template <typename T>
struct ClassRows {
  const int64_t* targets;  // a class each, or -1 for one that is elsewhere, whose logit `positive` holds from the start
  const T* elsewhere;      // the log-sum-exp of classes that are not seen here, without the target; null for none
  const T *weights, *others;  // derivatives of the total in keep * nll and in the other terms; null for 1
  T *shift, *sum;             // sum of exp(s_ij) over the other classes = exp(shift_i) * sum_i; -inf and 0 at first
  T *positive, *sums;         // s of the row's own class; sum_j c_j s_ij, 0 at first
  T *nll, *lse;               // results: lse_i over all classes
  T *scale, *offset, *flat;   // the gradient in s_ij, scale_i * exp(s_ij - offset_i) - flat_i * c_j; and in the
  T* pair;                    // logit of the row's own class
};

namespace cpu {

// Turns rows x cols contiguous logits, of classes from col0 on, into s, -inf for a row's own class; adds to the sums.
void class_logits(float* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<float>& state,
                  const ClassTerms<float>& terms, int threads);
void class_logits(double* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<double>& state,
                  const ClassTerms<double>& terms, int threads);

// The results of the rows once all classes have been seen, and what their gradients are made of.
void class_rows(int64_t rows, const ClassRows<float>& state, const ClassTerms<float>& terms);
void class_rows(int64_t rows, const ClassRows<double>& state, const ClassTerms<double>& terms);

// Turns s into the gradient in the logits, 0 for a row's own class; adds its sums to d_bias (V) unless that is null.
void class_gradients(float* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<float>& state,
                     const ClassTerms<float>& terms, float* d_bias, int threads);
void class_gradients(double* tile, int64_t rows, int64_t cols, int64_t col0, const ClassRows<double>& state,
                     const ClassTerms<double>& terms, double* d_bias, int threads);

}  // namespace cpu
}  // namespace sslfast
