#include "sslfast/negative_cosine_similarity.h"

#include <cmath>

#include "isa.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename T>
struct Products {
  T square0, square1, dot;
};

// The three sums in lanes: precise, and vectorised.
template <typename T>
inline __attribute__((always_inline)) Products<T> products(const T* x0, const T* x1, int64_t n) {
  constexpr int64_t kLanes = 128 / sizeof(T);
  T square0[kLanes] = {}, square1[kLanes] = {}, dot[kLanes] = {};
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const T a = x0[d + l], b = x1[d + l];
      square0[l] += a * a;
      square1[l] += b * b;
      dot[l] += a * b;
    }
  }
  for (int64_t l = 0; d + l < n; ++l) {
    const T a = x0[d + l], b = x1[d + l];
    square0[l] += a * a;
    square1[l] += b * b;
    dot[l] += a * b;
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) {
      square0[l] += square0[l + half];
      square1[l] += square1[l + half];
      dot[l] += dot[l + half];
    }
  }
  return {square0[0], square1[0], dot[0]};
}

// grad = other * across - own * along
template <typename T>
inline __attribute__((always_inline)) void gradient(const T* own, const T* other, int64_t n, T across, T along,
                                                    T* grad) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) grad[d] = other[d] * across - own[d] * along;
}

// The cosine of a pair, and the gradients of it times `factor` while both rows are in L1. Norms divide one by one:
// their product may underflow.
template <typename T>
inline __attribute__((always_inline)) T pair_body(const T* x0, const T* x1, int64_t n, T eps, T factor, T* grad0,
                                                  T* grad1) {
  const Products<T> sums = products(x0, x1, n);
  const T norm0 = std::sqrt(sums.square0), norm1 = std::sqrt(sums.square1);
  const T by0 = norm0 < eps ? eps : norm0, by1 = norm1 < eps ? eps : norm1;  // a NaN stays
  const T cosine = sums.dot / by0 / by1;
  const T across = factor / by0 / by1;
  if (grad0) gradient(x0, x1, n, across, norm0 < eps ? T(0) : factor * cosine / by0 / by0, grad0);
  if (grad1) gradient(x1, x0, n, across, norm1 < eps ? T(0) : factor * cosine / by1 / by1, grad1);
  return cosine;
}

SSLFAST_ISA_CLONES float pair(const float* x0, const float* x1, int64_t n, float eps, float factor, float* grad0,
                              float* grad1) {
  return pair_body(x0, x1, n, eps, factor, grad0, grad1);
}
double pair(const double* x0, const double* x1, int64_t n, double eps, double factor, double* grad0, double* grad1) {
  return pair_body(x0, x1, n, eps, factor, grad0, grad1);
}

}  // namespace

template <typename T>
void negative_cosine_similarity(const NegativeCosine<T>& p, int threads) {
  threads = team(p.rows * p.width, kNumbersPerThread, threads);
  const T factor = T(-1) / static_cast<T>(p.rows);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    p.cosines[i] = pair(p.x0 + i * p.stride0, p.x1 + i * p.stride1, p.width, p.eps, factor,
                        p.grad0 ? p.grad0 + i * p.width : nullptr, p.grad1 ? p.grad1 + i * p.width : nullptr);
  }
  double sum = 0;
  for (int64_t i = 0; i < p.rows; ++i) sum += static_cast<double>(p.cosines[i]);
  *p.loss = static_cast<T>(-sum / static_cast<double>(p.rows));
}

template void negative_cosine_similarity(const NegativeCosine<float>&, int);
template void negative_cosine_similarity(const NegativeCosine<double>&, int);

}  // namespace sslfast::cpu
