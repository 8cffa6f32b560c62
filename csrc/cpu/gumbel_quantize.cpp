// A row of logits at a time, while it is in L1: its largest, its exponentials, and in backward its noise, drawn again.
#include "sslfast/gumbel_quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../shared/gumbel_noise.h"
#include "element_types.h"
#include "isa.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kNumbersPerThread = 1 << 14;

#define SSLFAST_INLINE inline __attribute__((always_inline))

// wide = x; the largest.
template <typename T, typename In>
SSLFAST_INLINE T widen_body(const In* x, int64_t n, T* wide) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) {
    wide[k] = widen(x[k]);
    best = wide[k] > best ? wide[k] : best;
  }
  return best;
}

// x <- exp(x - top); the sum.
template <typename T>
SSLFAST_INLINE T exp_body(int64_t n, T top, T* x) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) {
    x[k] = vector_exp(x[k] - top);
    sum += x[k];
  }
  return sum;
}

// z = (x + noise) / temperature; the largest.
template <typename T>
SSLFAST_INLINE T perturb_body(const T* x, const T* noise, int64_t n, T inverse, T* z) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) {
    z[k] = (x[k] + noise[k]) * inverse;
    best = z[k] > best ? z[k] : best;
  }
  return best;
}

template <typename T>
SSLFAST_INLINE T dot_body(const T* a, const T* b, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) sum += a[k] * b[k];
  return sum;
}

// grad += y (h - along) factor
template <typename T>
SSLFAST_INLINE void softmax_body(const T* y, const T* h, int64_t n, T along, T factor, T* grad) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) grad[k] += y[k] * (h[k] - along) * factor;
}

template <typename T>
SSLFAST_INLINE void add_body(const T* x, int64_t n, T factor, T* sums) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) sums[k] += x[k] * factor;
}

template <typename T, typename In>
SSLFAST_INLINE void narrow_body(const T* x, int64_t n, In* out) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) narrow(x[k], out[k]);
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROW(T, CLONES)                                                                 \
  CLONES T exponentials(int64_t n, T top, T* x) { return exp_body(n, top, x); }                \
  CLONES T perturb(const T* x, const T* noise, int64_t n, T inverse, T* z) {                   \
    return perturb_body(x, noise, n, inverse, z);                                              \
  }                                                                                            \
  CLONES T dot(const T* a, const T* b, int64_t n) { return dot_body(a, b, n); }                \
  CLONES void through_softmax(const T* y, const T* h, int64_t n, T along, T factor, T* grad) { \
    softmax_body(y, h, n, along, factor, grad);                                                \
  }                                                                                            \
  CLONES void add(const T* x, int64_t n, T factor, T* sums) { add_body(x, n, factor, sums); }
SSLFAST_ROW(float, SSLFAST_ISA_CLONES)
SSLFAST_ROW(double, )
#undef SSLFAST_ROW

#define SSLFAST_TYPES(T, In)                                                                         \
  SSLFAST_ISA_CLONES T widen_row(const In* x, int64_t n, T* wide) { return widen_body(x, n, wide); } \
  SSLFAST_ISA_CLONES void narrow_row(const T* x, int64_t n, In* out) { narrow_body(x, n, out); }
SSLFAST_TYPES(float, float)
SSLFAST_TYPES(float, Brain16)
SSLFAST_TYPES(float, Half16)
SSLFAST_TYPES(double, double)
#undef SSLFAST_TYPES

// `noise` has room for whole counters.
SSLFAST_ISA_CLONES void draw(uint64_t seed, uint64_t row, int64_t n, uint32_t* words, float* noise) {
  const int64_t counters = (n + 3) / 4;
  for (int64_t i = 0; i < counters; ++i) {
    const Words w = philox(seed, Stream::kGumbel, row, static_cast<uint32_t>(i));
    for (int k = 0; k < 4; ++k) words[4 * i + k] = w.word[k];
  }
  for (int64_t k = 0; k < n; ++k) noise[k] = gumbel::noise(words[k]);
}

void draw(uint64_t seed, uint64_t row, int64_t n, uint32_t*, double* noise) {
  for (int64_t k = 0; k < n; ++k) {
    const Words w = philox(seed, Stream::kGumbel, row, static_cast<uint32_t>(k / 4));
    noise[k] = gumbel::noise_in_double(w.word[k % 4]);
  }
}

template <typename T, typename In>
void sum_chunk(const GumbelQuantize& p, int64_t chunk, std::vector<T>& wide) {
  const int64_t width = p.groups * p.vars;
  T *probs = static_cast<T*>(p.probs) + chunk * width, *counts = static_cast<T*>(p.counts) + chunk * width;
  std::fill(probs, probs + width, T(0));
  std::fill(counts, counts + width, T(0));
  const int64_t end = std::min(p.frames, (chunk + 1) * kQuantizeChunk);
  for (int64_t row = chunk * kQuantizeChunk * p.groups; row < end * p.groups; ++row) {
    const int64_t g = row % p.groups;
    const T top = widen_row(static_cast<const In*>(p.logits) + row * p.vars, p.vars, wide.data());
    const int64_t best = std::find(wide.begin(), wide.begin() + p.vars, top) - wide.begin();
    const T sum = exponentials(p.vars, top, wide.data());  // NaN where the row has no softmax
    p.best[row] = sum == sum ? best : -1;
    static_cast<T*>(p.lse)[row] = top + std::log(sum);
    if (p.mask && !p.mask[row / p.groups]) continue;
    add(wide.data(), p.vars, 1 / sum, probs + g * p.vars);
    counts[g * p.vars + (sum == sum ? best : 0)] += sum == sum ? T(1) : sum;
  }
}

// Buffers of one thread: a row each.
template <typename T>
struct Rows {
  std::vector<T> x, z, noise, grad;
  std::vector<uint32_t> words;
  explicit Rows(int64_t n) : x(n), z(n), noise((n + 3) / 4 * 4), grad(n), words((n + 3) / 4 * 4) {}
};

template <typename T, typename In>
void row_gradient(const GumbelQuantizeBackward& p, int64_t row, Rows<T>& r) {
  const int64_t n = p.vars, frame = row / p.groups, g = row % p.groups;
  std::fill(r.grad.begin(), r.grad.end(), T(0));
  widen_row(static_cast<const In*>(p.logits) + row * n, n, r.x.data());
  if (p.products) {
    const T* h = static_cast<const T*>(p.products) + (g * p.frames + frame) * n;
    const T inverse = static_cast<T>(1 / p.temperature);
    draw(p.seed, static_cast<uint64_t>(p.numbers[row]), n, r.words.data(), r.noise.data());
    const T top = perturb(r.x.data(), r.noise.data(), n, inverse, r.z.data());
    const T share = 1 / exponentials(n, top, r.z.data());
    const T along = dot(r.z.data(), h, n) * share;
    through_softmax(r.z.data(), h, n, along, share * inverse, r.grad.data());
  }
  if (p.shares && (!p.mask || p.mask[frame])) {
    const T* a = static_cast<const T*>(p.shares) + g * n;
    exponentials(n, static_cast<const T*>(p.lse)[row], r.x.data());
    through_softmax(r.x.data(), a, n, dot(r.x.data(), a, n), T(1), r.grad.data());
  }
  narrow_row(r.grad.data(), n, static_cast<In*>(p.grad) + row * n);
}

int team(int64_t numbers, int threads) {
  return static_cast<int>(std::clamp<int64_t>(numbers / kNumbersPerThread, 1, threads));
}

}  // namespace

void gumbel_quantize(const GumbelQuantize& p, int threads) {
  const int64_t chunks = (p.frames + kQuantizeChunk - 1) / kQuantizeChunk;
  threads = team(p.frames * p.groups * p.vars, threads);
  by_dtype(p.dtype, [&](auto element) {
    using In = decltype(element);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      std::vector<Wide<In>> wide(p.vars);
#pragma omp for
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum_chunk<Wide<In>, In>(p, chunk, wide);
    }
  });
}

void gumbel_quantize_backward(const GumbelQuantizeBackward& p, int threads) {
  threads = team(p.frames * p.groups * p.vars, threads);
  by_dtype(p.dtype, [&](auto element) {
    using In = decltype(element);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      Rows<Wide<In>> rows(p.vars);
#pragma omp for
      for (int64_t row = 0; row < p.frames * p.groups; ++row) row_gradient<Wide<In>, In>(p, row, rows);
    }
  });
}

}  // namespace sslfast::cpu
