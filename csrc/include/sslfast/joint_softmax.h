// Softmax losses of N queries among negatives of several kinds, whose similarities are given as one matrix, (N, C), and
// the derivatives of the losses in these: what InfoNCE of few pairs has between its products.
//
// With the key p(i) of query i, the columns of row i are, of those kinds that there are and in this order: the queries
// by their similarity with key p(i); the keys by theirs with key p(i); the queries by theirs with query i; the keys by
// theirs with query i; and further negatives.
#pragma once

#include <cstdint>

#include "sslfast/launch.h"

namespace sslfast {

// Which kinds have columns in the sum of a query. With symmetric the first has columns in any case, N of them, for the
// sum of the query's key, whose loss is averaged with that of the query.
struct JointKinds {
  bool key_to_query, symmetric, key_negatives, query_negatives, in_batch;

  bool queries_of_keys() const { return key_to_query || symmetric; }
  // How many columns there are beside further negatives.
  int64_t columns(int64_t n, int64_t m) const {
    return n * (queries_of_keys() + query_negatives) + m * (key_negatives + in_batch);
  }
};

template <typename T>
struct JointRows {
  const T* similar;  // (n, columns)
  int64_t n, m, columns;
  JointKinds kinds;
  const int64_t* positives;            // (n), p(i) < m
  const int64_t *query_ids, *key_ids;  // (n), (m): what has the same id is left out; or null
  int64_t hard_begin, hard_end;        // columns that a share, strength, of their similarity is added to, a constant
  const double* positive;              // (n): logits of the positives
  const T *limits, *factors;           // (n): logits above which what is not hard yet is left out, or null; factors of
                                       // the losses beside share, or null for 1
  double scale, strength, smoothing, tau_plus, share;

  double* losses;    // (n), times share and factor
  T* weights;        // (n, columns): their derivatives in similarities, but for the positives; or null
  double* slopes;    // (n): those in the logits of the positives
  double* of_scale;  // (n): those in scale, but for the positives; both null where weights is
};

namespace cpu {

// The result does not depend on the number of threads.
void joint_softmax(const JointRows<float>& p, int threads);
void joint_softmax(const JointRows<double>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
