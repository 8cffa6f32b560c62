// Softmax losses of N queries of width D, each with a positive key and all entries of a queue for negatives: what
// becomes of the log-sum-exps and the queue's means that queue_softmax.h makes.
#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// shares_i is the derivative of the result in the log-sum-exp of query i, and minus that in the logit of its positive.
template <typename T>
struct QueuePairs {
  const T *query, *keys;  // (n, d)
  const T* shares;        // (n)
  T* query_grad;          // (n, d) or null: the queue's mean under every query's softmax; overwritten
  T* key_grad;            // (n, d) or null
  T scale;
  int64_t n, d;
};

namespace cpu {

// logits_i <- scale <query i, key i>, summed in double.
void queue_pair_logits(const QueuePairs<float>& pairs, float* logits, int threads);
void queue_pair_logits(const QueuePairs<double>& pairs, double* logits, int threads);

// query_grad_i <- scale shares_i (mean_i - key_i), key_grad_i <- -scale shares_i query_i. Returns the derivative of the
// result in the scale, sum_i shares_i <mean_i - key_i, query_i>, where there is query_grad.
double queue_pair_gradients(const QueuePairs<float>& pairs, int threads);
double queue_pair_gradients(const QueuePairs<double>& pairs, int threads);

}  // namespace cpu
}  // namespace sslfast
