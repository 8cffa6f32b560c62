#include "sslfast/positive_pairs.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "isa.h"

namespace sslfast::cpu {
namespace {

inline __attribute__((always_inline)) float widened(float x) { return x; }
inline __attribute__((always_inline)) double widened(double x) { return x; }
inline __attribute__((always_inline)) float widened(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}

template <typename E, typename T>
inline __attribute__((always_inline)) void add_times_body(T* to, const E* from, int64_t n, T weight) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) to[k] += weight * widened(from[k]);
}

SSLFAST_ISA_CLONES void add_times(float* to, const float* from, int64_t n, float weight) {
  add_times_body(to, from, n, weight);
}
SSLFAST_ISA_CLONES void add_times(float* to, const uint16_t* from, int64_t n, float weight) {
  add_times_body(to, from, n, weight);
}
void add_times(double* to, const double* from, int64_t n, double weight) { add_times_body(to, from, n, weight); }

// The sum of products in double, in lanes: in one order at every instruction set.
template <typename E>
inline __attribute__((always_inline)) double dot_body(const E* a, const E* b, int64_t n) {
  constexpr int64_t kLanes = 16;
  double lanes[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      lanes[l] += static_cast<double>(widened(a[k + l])) * static_cast<double>(widened(b[k + l]));
    }
  }
  for (int64_t l = 0; k + l < n; ++l) {
    lanes[l] += static_cast<double>(widened(a[k + l])) * static_cast<double>(widened(b[k + l]));
  }
  double sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

SSLFAST_ISA_CLONES double dot(const float* a, const float* b, int64_t n) { return dot_body(a, b, n); }
SSLFAST_ISA_CLONES double dot(const uint16_t* a, const uint16_t* b, int64_t n) { return dot_body(a, b, n); }
SSLFAST_ISA_CLONES double dot(const double* a, const double* b, int64_t n) { return dot_body(a, b, n); }

template <typename E, typename T>
void multiply(const PositivePairs<E, T>& pairs, double factor, T* logits, int threads) {
  constexpr int64_t kWorkPerThread = 1 << 15;  // products
  threads = static_cast<int>(std::clamp<int64_t>(pairs.n * pairs.d / kWorkPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < pairs.n; ++i) {
    const int64_t p = pairs.positives[i];
    if (p < 0) {
      logits[i] = -std::numeric_limits<T>::infinity();
      continue;
    }
    double logit = factor * dot(pairs.rows + i * pairs.d, pairs.columns + p * pairs.d, pairs.d);
    if (pairs.row_factors != nullptr) logit *= pairs.row_factors[i];
    if (pairs.col_factors != nullptr) logit *= pairs.col_factors[p];
    logits[i] = static_cast<T>(logit);
  }
}

// A thread takes some of the D numbers of every pair: columns may be positives of several rows.
template <typename E, typename T>
void add(const PositivePairs<E, T>& pairs, double factor, T* row_sums, T* col_sums, int threads) {
  constexpr int64_t kLeast = 64;
  const int64_t d = pairs.d, parts = std::clamp<int64_t>(d / kLeast, 1, threads);
#pragma omp parallel for num_threads(threads) if (parts > 1)
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = d * part / parts, size = d * (part + 1) / parts - begin;
    for (int64_t i = 0; i < pairs.n; ++i) {
      const int64_t p = pairs.positives[i];
      if (p < 0) continue;
      const T weight = static_cast<T>(factor) * pairs.weights[i];
      if (row_sums != nullptr) {
        const T own = pairs.col_factors != nullptr ? weight * pairs.col_factors[p] : weight;
        add_times(row_sums + i * d + begin, pairs.columns + p * d + begin, size, own);
      }
      if (col_sums != nullptr) {
        const T own = pairs.row_factors != nullptr ? weight * pairs.row_factors[i] : weight;
        add_times(col_sums + p * d + begin, pairs.rows + i * d + begin, size, own);
      }
    }
  }
}

}  // namespace

void pair_logits(const PositivePairs<float, float>& pairs, double factor, float* logits, int threads) {
  multiply(pairs, factor, logits, threads);
}
void pair_logits(const PositivePairs<uint16_t, float>& pairs, double factor, float* logits, int threads) {
  multiply(pairs, factor, logits, threads);
}
void pair_logits(const PositivePairs<float, double>& pairs, double factor, double* logits, int threads) {
  multiply(pairs, factor, logits, threads);
}
void pair_logits(const PositivePairs<double, double>& pairs, double factor, double* logits, int threads) {
  multiply(pairs, factor, logits, threads);
}

void add_pairs(const PositivePairs<float, float>& pairs, double factor, float* row_sums, float* col_sums, int threads) {
  add(pairs, factor, row_sums, col_sums, threads);
}
void add_pairs(const PositivePairs<uint16_t, float>& pairs, double factor, float* row_sums, float* col_sums,
               int threads) {
  add(pairs, factor, row_sums, col_sums, threads);
}
void add_pairs(const PositivePairs<double, double>& pairs, double factor, double* row_sums, double* col_sums,
               int threads) {
  add(pairs, factor, row_sums, col_sums, threads);
}

}  // namespace sslfast::cpu
