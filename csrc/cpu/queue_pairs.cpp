// Rows of queries beside rows of their keys: dot products, and the gradients of both.
#include "sslfast/queue_pairs.h"

#include <numeric>
#include <vector>

#include "isa.h"
#include "lane_sums.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename T>
inline __attribute__((always_inline)) double dot_body(const T* a, const T* b, int64_t n) {
  return sum_of<double>(n, [&](int64_t k) { return static_cast<double>(a[k]) * static_cast<double>(b[k]); });
}

// mean <- weight (mean - key); returns <mean - key, query>.
template <typename T>
inline __attribute__((always_inline)) T query_body(const T* query, const T* key, int64_t n, T weight, T* mean) {
  const T sum = sum_of<T>(n, [&](int64_t k) { return (mean[k] - key[k]) * query[k]; });
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) mean[k] = weight * (mean[k] - key[k]);
  return sum;
}

SSLFAST_ISA_CLONES double dot(const float* a, const float* b, int64_t n) { return dot_body(a, b, n); }
double dot(const double* a, const double* b, int64_t n) { return dot_body(a, b, n); }

SSLFAST_ISA_CLONES float query_row(const float* query, const float* key, int64_t n, float weight, float* mean) {
  return query_body(query, key, n, weight, mean);
}
double query_row(const double* query, const double* key, int64_t n, double weight, double* mean) {
  return query_body(query, key, n, weight, mean);
}

SSLFAST_ISA_CLONES void key_row(const float* query, int64_t n, float weight, float* grad) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) grad[k] = weight * query[k];
}
void key_row(const double* query, int64_t n, double weight, double* grad) {
  for (int64_t k = 0; k < n; ++k) grad[k] = weight * query[k];
}

template <typename T>
void logits_of(const QueuePairs<T>& p, T* logits, int threads) {
  share_out(p.n, team(p.n * p.d, kNumbersPerThread, threads), [&](int64_t i) {
    logits[i] = static_cast<T>(static_cast<double>(p.scale) * dot(p.query + i * p.d, p.keys + i * p.d, p.d));
  });
}

template <typename T>
double gradients_of(const QueuePairs<T>& p, int threads) {
  std::vector<double> along(p.query_grad != nullptr ? p.n : 0);  // added up in one order, whatever the threads
  share_out(p.n, team(p.n * p.d, kNumbersPerThread, threads), [&](int64_t i) {
    const T* query = p.query + i * p.d;
    const T weight = p.scale * p.shares[i];
    if (p.key_grad != nullptr) key_row(query, p.d, -weight, p.key_grad + i * p.d);
    if (p.query_grad == nullptr) return;
    const T product = query_row(query, p.keys + i * p.d, p.d, weight, p.query_grad + i * p.d);
    along[i] = static_cast<double>(p.shares[i]) * static_cast<double>(product);
  });
  return std::accumulate(along.begin(), along.end(), 0.0);
}

}  // namespace

void queue_pair_logits(const QueuePairs<float>& pairs, float* logits, int threads) {
  logits_of(pairs, logits, threads);
}
void queue_pair_logits(const QueuePairs<double>& pairs, double* logits, int threads) {
  logits_of(pairs, logits, threads);
}

double queue_pair_gradients(const QueuePairs<float>& pairs, int threads) { return gradients_of(pairs, threads); }
double queue_pair_gradients(const QueuePairs<double>& pairs, int threads) { return gradients_of(pairs, threads); }

}  // namespace sslfast::cpu
