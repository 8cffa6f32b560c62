#include "sslfast/msn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "isa.h"
#include "team.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kBlock = 2048;  // prototypes whose sums are taken in T: those of blocks are added in double

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T>
SSLFAST_INLINE T max_body(const T* s, int64_t n) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) best = s[k] > best ? s[k] : best;
  return best;
}

// out = exp((s - shift) * scale) and its sum; also the sums of q and of q * (s - shift).
template <typename T>
SSLFAST_INLINE T exp_body(const T* s, const T* q, int64_t n, T shift, T scale, T* out, T* mass, T* along) {
  T sum = 0, of_targets = 0, product = 0;
#pragma omp simd reduction(+ : sum, of_targets, product)
  for (int64_t k = 0; k < n; ++k) {
    const T y = s[k] - shift;
    out[k] = vector_exp(y * scale);
    sum += out[k];
    of_targets += q[k];
    product += q[k] * y;
  }
  *mass = of_targets;
  *along = product;
  return sum;
}

template <typename T>
SSLFAST_INLINE void add_scaled_body(const T* x, int64_t n, T factor, T* sums) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) sums[k] += x[k] * factor;
}

// out = exp((s - shift) * scale), and its product with the levels.
template <typename T>
SSLFAST_INLINE T level_body(const T* s, const T* levels, int64_t n, T shift, T scale, T* out) {
  T product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t k = 0; k < n; ++k) {
    out[k] = vector_exp((s[k] - shift) * scale);
    product += out[k] * levels[k];
  }
  return product;
}

template <typename T>
SSLFAST_INLINE void levelled_body(const T* exps, const T* q, const T* levels, int64_t n, T inverse, T along, T factor,
                                  T* grad) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) grad[k] = (exps[k] * inverse * (1 + (levels[k] - along)) - q[k]) * factor;
}

template <typename T>
SSLFAST_INLINE void gradient_body(const T* q, int64_t n, T shift, T scale, T inverse, T factor, T* s) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) s[k] = (vector_exp((s[k] - shift) * scale) * inverse - q[k]) * factor;
}

// What is compiled per instruction set has no templates; double has no vector_exp of its own.
#define SSLFAST_ROWS(T, CLONES)                                                                                        \
  CLONES T row_max(const T* s, int64_t n) { return max_body(s, n); }                                                   \
  CLONES T row_exp(const T* s, const T* q, int64_t n, T shift, T scale, T* out, T* mass, T* along) {                   \
    return exp_body(s, q, n, shift, scale, out, mass, along);                                                          \
  }                                                                                                                    \
  CLONES void add_scaled(const T* x, int64_t n, T factor, T* sums) { add_scaled_body(x, n, factor, sums); }            \
  CLONES T row_level(const T* s, const T* levels, int64_t n, T shift, T scale, T* out) {                               \
    return level_body(s, levels, n, shift, scale, out);                                                                \
  }                                                                                                                    \
  CLONES void levelled(const T* exps, const T* q, const T* levels, int64_t n, T inverse, T along, T factor, T* grad) { \
    levelled_body(exps, q, levels, n, inverse, along, factor, grad);                                                   \
  }                                                                                                                    \
  CLONES void plain_gradient(const T* q, int64_t n, T shift, T scale, T inverse, T factor, T* s) {                     \
    gradient_body(q, n, shift, scale, inverse, factor, s);                                                             \
  }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

// One row of logits: the loss relative to the largest logit, so that what is lost are digits of the loss.
template <typename T>
void rows_of(const MsnRows<T>& p, int64_t i, T* exps, T* sums) {
  const T* s = p.logits + i * p.prototypes;
  const T* q = p.targets + i % p.samples * p.prototypes;
  const T top = row_max(s, p.prototypes);
  double sum = 0, mass = 0, along = 0;
  for (int64_t k = 0; k < p.prototypes; k += kBlock) {
    T of_targets, product;
    sum += row_exp(s + k, q + k, std::min(kBlock, p.prototypes - k), top, p.scale, exps + k, &of_targets, &product);
    mass += of_targets;
    along += product;
  }
  p.losses[i] = static_cast<T>(mass * std::log(sum) - along * p.scale);
  p.tops[i] = top;
  p.inverses[i] = static_cast<T>(1 / sum);
  if (sums) add_scaled(exps, p.prototypes, p.inverses[i], sums);
}

}  // namespace

template <typename T>
void msn_rows(const MsnRows<T>& p, int threads) {
  const int64_t chunks = (p.anchors + kMsnChunk - 1) / kMsnChunk, width = p.prototypes;
  threads = team(p.anchors * width, kNumbersPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> exps(width);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      T* sums = p.partial ? p.partial + chunk * width : nullptr;
      if (sums) std::fill_n(sums, width, T(0));
      const int64_t end = std::min(p.anchors, (chunk + 1) * kMsnChunk);
      for (int64_t i = chunk * kMsnChunk; i < end; ++i) rows_of(p, i, exps.data(), sums);
    }
  }
  if (!p.shares) return;
  std::fill_n(p.shares, width, T(0));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) add_scaled(p.partial + chunk * width, width, T(1), p.shares);
}

template <typename T>
void msn_gradient(const MsnGradient<T>& p, int threads) {
  const int64_t width = p.prototypes;
  threads = team(p.anchors * width, kNumbersPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> exps(p.levels ? width : 0);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < p.anchors; ++i) {
      T* s = p.logits + i * width;
      const T *q = p.targets + i % p.samples * width, top = p.tops[i], inverse = p.inverses[i];
      if (!p.levels) {
        plain_gradient(q, width, top, p.scale, inverse, p.factor, s);
        continue;
      }
      double along = 0;
      for (int64_t k = 0; k < width; k += kBlock) {
        along += row_level(s + k, p.levels + k, std::min(kBlock, width - k), top, p.scale, exps.data() + k);
      }
      levelled(exps.data(), q, p.levels, width, inverse, static_cast<T>(along * inverse), p.factor, s);
    }
  }
}

template void msn_rows(const MsnRows<float>&, int);
template void msn_rows(const MsnRows<double>&, int);
template void msn_gradient(const MsnGradient<float>&, int);
template void msn_gradient(const MsnGradient<double>&, int);

}  // namespace sslfast::cpu
