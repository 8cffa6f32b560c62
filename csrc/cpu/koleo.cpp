#include "sslfast/koleo.h"

#include <algorithm>
#include <cmath>

#include "isa.h"
#include "lane_sums.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kStrip = 256;  // columns that one thread goes down

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T>
SSLFAST_INLINE T unit_body(const T* x, int64_t n, T eps, T* unit) {
  const T norm = std::sqrt(sum_of<T>(n, [&](int64_t d) { return x[d] * x[d]; }));
  const T divisor = norm < eps ? eps : norm;  // a NaN stays
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) unit[d] = x[d] / divisor;  // equal directions become equal rows
  return 1 / divisor;
}

// What row `row` is for n others; of equals the first row stays.
template <typename T>
SSLFAST_INLINE void go_down_body(const T* products, int64_t n, int32_t row, T* best, int32_t* nearest) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const bool closer = products[k] > best[k];
    best[k] = closer ? products[k] : best[k];
    nearest[k] = closer ? row : nearest[k];
  }
}

template <typename T>
SSLFAST_INLINE T largest_body(const T* products, int64_t n, T start) {
  T best = start;
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) best = products[k] > best ? products[k] : best;
  return best;
}

template <typename T>
SSLFAST_INLINE T apart_body(const T* u, const T* v, int64_t n, T eps) {
  return std::sqrt(sum_of<T>(n, [&](int64_t d) {
    const T t = (u[d] - v[d]) + eps;
    return t * t;
  }));
}

// to = (u - v + eps) * nearness * weight, or is less by that. The product of the two factors may overflow where rows
// are equal: the first alone makes a unit vector.
template <typename T>
SSLFAST_INLINE void pull_body(const T* u, const T* v, int64_t n, T eps, T nearness, T weight, T* to) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) to[d] = (((u[d] - v[d]) + eps) * nearness) * weight;
}
template <typename T>
SSLFAST_INLINE void push_body(const T* u, const T* v, int64_t n, T eps, T nearness, T weight, T* from) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) from[d] -= (((u[d] - v[d]) + eps) * nearness) * weight;
}

// From the gradient of a unit vector to that of x; where the norm is below eps, the divisor is constant.
template <typename T>
SSLFAST_INLINE void through_norm_body(T* grad, const T* unit, int64_t n, T factor, bool constant) {
  const T along = constant ? T(0) : sum_of<T>(n, [&](int64_t d) { return grad[d] * unit[d]; });
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) grad[d] = (grad[d] - along * unit[d]) * factor;
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROWS(T, CLONES)                                                                        \
  CLONES T unit_row(const T* x, int64_t n, T eps, T* unit) { return unit_body(x, n, eps, unit); }      \
  CLONES void go_down(const T* products, int64_t n, int32_t row, T* best, int32_t* nearest) {          \
    go_down_body(products, n, row, best, nearest);                                                     \
  }                                                                                                    \
  CLONES T largest(const T* products, int64_t n, T start) { return largest_body(products, n, start); } \
  CLONES T apart(const T* u, const T* v, int64_t n, T eps) { return apart_body(u, v, n, eps); }        \
  CLONES void pull(const T* u, const T* v, int64_t n, T eps, T nearness, T weight, T* to) {            \
    pull_body(u, v, n, eps, nearness, weight, to);                                                     \
  }                                                                                                    \
  CLONES void push(const T* u, const T* v, int64_t n, T eps, T nearness, T weight, T* from) {          \
    push_body(u, v, n, eps, nearness, weight, from);                                                   \
  }                                                                                                    \
  CLONES void through_norm(T* grad, const T* unit, int64_t n, T factor, bool constant) {               \
    through_norm_body(grad, unit, n, factor, constant);                                                \
  }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

}  // namespace

template <typename T>
void koleo_units(const Koleo<T>& p, int threads) {
  threads = team(p.rows * p.width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    p.factors[i] = unit_row(p.x + i * p.row_stride, p.width, p.eps, p.unit + i * p.width);
    p.best[i] = -2;
    p.nearest[i] = 0;
  }
}

template <typename T>
void koleo_search(const Koleo<T>& p, const T* tile, int64_t first, int64_t stop, int threads) {
  const int64_t width = p.rows - first;
  threads = team((stop - first) * width, kNumbersPerThread, threads);
  // Rows above come before those below: down the columns, then along the rows.
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t begin = 0; begin < width; begin += kStrip) {
    const int64_t end = std::min(begin + kStrip, width);
    for (int64_t i = 0; i < std::min(stop - first, end - 1); ++i) {
      const int64_t k = std::max(begin, i + 1);
      go_down(tile + i * width + k, end - k, static_cast<int32_t>(first + i), p.best + first + k,
              p.nearest + first + k);
    }
  }
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < stop - first; ++i) {
    const T *products = tile + i * width, *end = products + width, before = p.best[first + i];
    const T best = largest(products + i + 1, width - i - 1, before);
    if (best > before) {
      p.best[first + i] = best;
      p.nearest[first + i] = static_cast<int32_t>(first + (std::find(products + i + 1, end, best) - products));
    }
  }
}

template <typename T>
void koleo_loss(const Koleo<T>& p, int threads) {
  const int64_t n = p.width;
  threads = team(p.rows * n, kNumbersPerThread, threads);
  const auto weight = [&](int64_t i) { return T(-1) / (static_cast<T>(p.rows) * p.best[i]); };
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    const T *u = p.unit + i * n, *v = p.unit + p.nearest[i] * n;
    const T far = apart(u, v, n, p.eps);
    p.neighbours[i] = p.nearest[i];
    p.best[i] = far + p.eps;
    p.nearness[i] = far == 0 ? T(0) : 1 / far;
    if (p.grad) pull(u, v, n, p.eps, p.nearness[i], weight(i), p.grad + i * n);
  }
  double total = 0;
  for (int64_t i = 0; i < p.rows; ++i) total += static_cast<double>(std::log(p.best[i]));
  *p.loss = static_cast<T>(-total / static_cast<double>(p.rows));
  if (!p.grad) return;
  // A row may be the neighbour of many: a thread has some of the numbers of all rows.
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t d = 0; d < n; d += kStrip) {
    for (int64_t i = 0; i < p.rows; ++i) {
      const int64_t j = p.nearest[i];
      push(p.unit + i * n + d, p.unit + j * n + d, std::min(kStrip, n - d), p.eps, p.nearness[i], weight(i),
           p.grad + j * n + d);
    }
  }
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p.rows; ++i) {
    through_norm(p.grad + i * n, p.unit + i * n, n, p.factors[i], p.factors[i] >= 1 / p.eps);
  }
}

template void koleo_units(const Koleo<float>&, int);
template void koleo_units(const Koleo<double>&, int);
template void koleo_search(const Koleo<float>&, const float*, int64_t, int64_t, int);
template void koleo_search(const Koleo<double>&, const double*, int64_t, int64_t, int);
template void koleo_loss(const Koleo<float>&, int);
template void koleo_loss(const Koleo<double>&, int);

}  // namespace sslfast::cpu
