// Losses of N pairs (row i, column p(i)) among N rows and M columns of width D where N M is so small that all logits
// are held at once, and what a call costs beside its products is what a batch waits for: loss and gradients in one
// call.
#pragma once

#include "sslfast/dtype.h"
#include "sslfast/excluded.h"
#include "sslfast/launch.h"

namespace sslfast {

// What each of n rows, or columns, has to tell its positive from: losses log(1 + exp(lse - positive)), whose
// derivatives in lse are shares. All vectors have n numbers.
template <typename T>
struct PairLosses {
  const T *lse, *positive;  // the log-sum-exp over the negatives, -inf where there is none, and the positive's logit
  int64_t n;
  T share;              // of a loss in the result
  T *shares, *weights;  // shares <- share * sigmoid(lse - positive), and weights, of the positives, <- weights - shares
  const T* factors = nullptr;  // (n) of every loss beside share, or null for 1
  T* losses = nullptr;         // (n): every loss, times its factor and share, is added; or null
};

// n log-sum-exps over `count` negatives each, of which a share tau_plus is expected to be of the positive's own class:
// debiased_i = log(max((exp(lse_i) - tau_plus count exp(positive_i)) / (1 - tau_plus), count exp(-|scale|))).
template <typename T>
struct DebiasedPairs {
  const T *lse, *positive;
  int64_t n, count;
  double tau_plus, scale;
  T* debiased;     // (n)
  double* slopes;  // (n): its derivative in lse, that in positive is 1 less this; or 0 where the second is larger, the
                   // derivative of which is -1 in |scale|
};

// All pairs of rows and columns, (n, d) and (m, d), as label smoothing adds them up.
template <typename T>
struct AllPairs {
  const T *rows, *columns;
  const T* factors;  // (n) of the rows, or null for 1
  int64_t n, m, d;
};

// Label smoothing of n rows whose candidates are their positive and those of m columns that nothing leaves out: adds
// e (S_ip - mean of the candidates' S_ij) to a loss.
template <typename T>
struct CountedSmoothing {
  const T *positive, *factors;  // (n): the positive's logit, and of every loss beside share, or null for 1
  int64_t n, m;
  double smoothing, share;
  uint8_t* counts;  // (n, m): which columns are candidates beside the positive
  int64_t* others;  // (n): how many these are
  T* spread;        // (n): what their logits' derivatives are less by
  T* weights;       // (n): derivatives in positives, to which theirs are added
};

namespace cpu {

// wide (rows, width), contiguous, <- z of that dtype, element (i, k) at i * row_stride + k * col_stride.
void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               float* wide, int threads);
void wide_rows(const void* z, Dtype dtype, int64_t rows, int64_t width, int64_t row_stride, int64_t col_stride,
               double* wide, int threads);

// Returns the sum of the losses, each times its factor. NaN where a positive's logit is infinite, which may be all that
// an infinite feature makes so, and would count as a perfect pair.
double pair_losses(const PairLosses<float>& losses);
double pair_losses(const PairLosses<double>& losses);

void debias_pairs(const DebiasedPairs<float>& pairs);
void debias_pairs(const DebiasedPairs<double>& pairs);

// Returns sum_ij factors_i <row i, column j>, from sums over both sides, and adds its gradients, times a weight each,
// to those of rows and of columns, null where they are not needed.
double add_all_pairs(const AllPairs<float>& pairs, double row_weight, double col_weight, float* row_grads,
                     float* col_grads);
double add_all_pairs(const AllPairs<double>& pairs, double row_weight, double col_weight, double* row_grads,
                     double* col_grads);

// to <- from^T, n x n of rows of those strides; or with `add` to <- to + from^T.
void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t n, bool add, int threads);
void transpose(const double* from, int64_t from_stride, double* to, int64_t to_stride, int64_t n, bool add,
               int threads);

// Fills in the counts, of logits (n, m) that are not excluded yet: one that is -inf itself is a candidate.
void count_candidates(const float* logits, const Excluded<float>& excluded, const CountedSmoothing<float>& smoothing,
                      int threads);
void count_candidates(const double* logits, const Excluded<double>& excluded, const CountedSmoothing<double>& smoothing,
                      int threads);

// Returns the sum over the rows of logits (n, m), counted before, each times its factor, and fills in the rest.
double smooth_counted(const float* logits, const CountedSmoothing<float>& smoothing, int threads);
double smooth_counted(const double* logits, const CountedSmoothing<double>& smoothing, int threads);

// Takes the spread off the derivatives (n, m) of the logits that count.
void spread_counted(const CountedSmoothing<float>& smoothing, float* derivatives, int threads);
void spread_counted(const CountedSmoothing<double>& smoothing, double* derivatives, int threads);

// Returns the sum of the products of grads and units, (rows, width) each, and multiplies grads by the factor.
double sum_and_scale(float* grads, const float* units, int64_t rows, int64_t width, float factor);
double sum_and_scale(double* grads, const double* units, int64_t rows, int64_t width, double factor);

}  // namespace cpu
}  // namespace sslfast
