#include "sslfast/own_similarities.h"

#include <algorithm>
#include <cmath>

#include "element_types.h"
#include "isa.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename T>
struct Sums {
  T dot, square;
};

// Both sums in lanes: precise, and vectorised.
template <typename Key, typename T>
inline __attribute__((always_inline)) Sums<T> sums_body(const T* query, const Key* key, int64_t n) {
  constexpr int64_t kLanes = 128 / sizeof(T);
  T dot[kLanes] = {}, square[kLanes] = {};
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const T h = widen(key[d + l]);
      dot[l] += query[d + l] * h;
      square[l] += h * h;
    }
  }
  for (int64_t l = 0; d + l < n; ++l) {
    const T h = widen(key[d + l]);
    dot[l] += query[d + l] * h;
    square[l] += h * h;
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) {
      dot[l] += dot[l + half];
      square[l] += square[l + half];
    }
  }
  return {dot[0], square[0]};
}

// One query with its keys.
template <typename Key, typename T>
inline __attribute__((always_inline)) void forward_body(const T* query, const Key* keys, int64_t count, int64_t stride,
                                                        int64_t n, T* similarities, T* inverse_norms) {
  for (int64_t k = 0; k < count; ++k) {
    const Sums<T> sums = sums_body(query, keys + k * stride, n);
    similarities[k] = sums.dot;
    if (!inverse_norms) continue;
    const T norm = std::sqrt(sums.square);
    inverse_norms[k] = 1 / (norm < T(kLeastNorm) ? T(kLeastNorm) : norm);  // a NaN stays
    similarities[k] *= inverse_norms[k];
  }
}

// What one key takes from the gradient and gives to that of its query, while it is in L1. Without `along` the key's own
// numbers, which may be infinite, are no part of its gradient.
template <typename Key, typename T>
inline __attribute__((always_inline)) void backward_body(const T* query, const Key* key, int64_t n, T weight, T along,
                                                         T* grad_query, Key* grad_key) {
  if (grad_query) {
#pragma omp simd
    for (int64_t d = 0; d < n; ++d) grad_query[d] += weight * widen(key[d]);
  }
  if (grad_key && along != 0) {
#pragma omp simd
    for (int64_t d = 0; d < n; ++d) narrow(weight * query[d] - along * widen(key[d]), grad_key[d]);
  } else if (grad_key) {
#pragma omp simd
    for (int64_t d = 0; d < n; ++d) narrow(weight * query[d], grad_key[d]);
  }
}

// What is compiled per instruction set has no templates.
#define SSLFAST_KEYS(Key, T)                                                                                        \
  SSLFAST_ISA_CLONES void forward_row(const T* query, const Key* keys, int64_t count, int64_t stride, int64_t n,    \
                                      T* similarities, T* inverse_norms) {                                          \
    forward_body(query, keys, count, stride, n, similarities, inverse_norms);                                       \
  }                                                                                                                 \
  SSLFAST_ISA_CLONES void backward_key(const T* query, const Key* key, int64_t n, T weight, T along, T* grad_query, \
                                       Key* grad_key) {                                                             \
    backward_body(query, key, n, weight, along, grad_query, grad_key);                                              \
  }
SSLFAST_KEYS(float, float)
SSLFAST_KEYS(Brain16, float)
SSLFAST_KEYS(Half16, float)
SSLFAST_KEYS(double, double)
#undef SSLFAST_KEYS

template <typename Key, typename T>
int threads_for(const OwnKeys<Key, T>& of, int threads) {
  return team(of.rows * of.count * of.width, kNumbersPerThread, threads);
}

}  // namespace

template <typename Key, typename T>
void own_similarities(const OwnSimilarities<Key, T>& p, int threads) {
  const OwnKeys<Key, T>& of = p.of;
  share_out(of.rows, threads_for(of, threads), [&](int64_t i) {
    forward_row(of.query + i * of.query_stride, of.keys + i * of.row_stride, of.count, of.key_stride, of.width,
                p.similarities + i * of.count, p.inverse_norms ? p.inverse_norms + i * of.count : nullptr);
  });
}

template <typename Key, typename T>
void own_similarities_backward(const OwnSimilaritiesBackward<Key, T>& p, int threads) {
  const OwnKeys<Key, T>& of = p.of;
  share_out(of.rows, threads_for(of, threads), [&](int64_t i) {
    T* grad_query = p.grad_query ? p.grad_query + i * of.width : nullptr;
    if (grad_query) std::fill_n(grad_query, of.width, T(0));
    for (int64_t k = 0; k < of.count; ++k) {
      const int64_t at = i * of.count + k;
      T weight = p.grad[at], along = 0;
      if (p.inverse_norms) {
        const T factor = p.inverse_norms[at];
        weight *= factor;
        if (factor < T(1 / kLeastNorm)) along = weight * p.similarities[at] * factor;
      }
      backward_key(of.query + i * of.query_stride, of.keys + i * of.row_stride + k * of.key_stride, of.width, weight,
                   along, grad_query, p.grad_keys ? p.grad_keys + at * of.width : nullptr);
    }
  });
}

#define SSLFAST_KEYS(Key, T)                                           \
  template void own_similarities(const OwnSimilarities<Key, T>&, int); \
  template void own_similarities_backward(const OwnSimilaritiesBackward<Key, T>&, int);
SSLFAST_KEYS(float, float)
SSLFAST_KEYS(Brain16, float)
SSLFAST_KEYS(Half16, float)
SSLFAST_KEYS(double, double)
#undef SSLFAST_KEYS

}  // namespace sslfast::cpu
