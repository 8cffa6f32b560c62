#include "sslfast/sinkhorn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "element_types.h"
#include "isa.h"
#include "large_output.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kBlock = 2048;  // prototypes that are read a second time while they are in L1
constexpr int64_t kStrip = 1024;  // prototypes whose columns one thread goes down twice, the second time in L2

#define SSLFAST_INLINE inline __attribute__((always_inline))

template <typename T, typename In>
SSLFAST_INLINE void raise_body(const In* s, int64_t n, T* tops) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) tops[k] = widen(s[k]) > tops[k] ? widen(s[k]) : tops[k];
}

template <typename T, typename In>
SSLFAST_INLINE void add_exp_body(const In* s, int64_t n, const T* tops, T scale, T* sums) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) sums[k] += vector_exp((widen(s[k]) - tops[k]) * scale);
}

template <typename T, typename In>
SSLFAST_INLINE T max_body(const In* s, int64_t n) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) best = widen(s[k]) > best ? widen(s[k]) : best;
  return best;
}

// out = scale * (s - shift) + potential, and the largest: shifted first, so that large scores lose no digits.
template <typename T, typename In>
SSLFAST_INLINE T lift_body(const In* s, const T* potentials, int64_t n, T shift, T scale, T* out) {
  T best = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) {
    out[k] = (widen(s[k]) - shift) * scale + potentials[k];
    best = out[k] > best ? out[k] : best;
  }
  return best;
}

template <typename T>
SSLFAST_INLINE T exp_body(T* x, int64_t n, T shift) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) {
    x[k] = vector_exp(x[k] - shift);
    sum += x[k];
  }
  return sum;
}

template <typename T>
SSLFAST_INLINE void add_scaled_body(const T* x, int64_t n, T factor, T* sums) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) sums[k] += x[k] * factor;
}

template <typename T>
SSLFAST_INLINE void scale_body(const T* x, int64_t n, T factor, T* out) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) out[k] = x[k] * factor;
}

#define SSLFAST_READ(T, In, CLONES)                                                      \
  CLONES void raise(const In* s, int64_t n, T* tops) { raise_body(s, n, tops); }         \
  CLONES void add_exp(const In* s, int64_t n, const T* tops, T scale, T* sums) {         \
    add_exp_body(s, n, tops, scale, sums);                                               \
  }                                                                                      \
  CLONES T row_max(const In* s, int64_t n, T) { return max_body<T>(s, n); }              \
  CLONES T lift(const In* s, const T* potentials, int64_t n, T shift, T scale, T* out) { \
    return lift_body(s, potentials, n, shift, scale, out);                               \
  }
SSLFAST_READ(float, float, SSLFAST_ISA_CLONES)
SSLFAST_READ(float, Brain16, SSLFAST_ISA_CLONES)
SSLFAST_READ(float, Half16, SSLFAST_ISA_CLONES)
SSLFAST_READ(double, double, )
#undef SSLFAST_READ

#define SSLFAST_WORK(T, CLONES)                                                                             \
  CLONES T exp_row(T* x, int64_t n, T shift) { return exp_body(x, n, shift); }                              \
  CLONES void add_scaled(const T* x, int64_t n, T factor, T* sums) { add_scaled_body(x, n, factor, sums); } \
  CLONES void scaled(const T* x, int64_t n, T factor, T* out) { scale_body(x, n, factor, out); }
SSLFAST_WORK(float, SSLFAST_ISA_CLONES)
SSLFAST_WORK(double, )
#undef SSLFAST_WORK

// -inf is the largest of nothing: whatever is subtracted then leaves exponentials of 0.
template <typename T>
T finite(T top) {
  return top == -std::numeric_limits<T>::infinity() ? T(0) : top;
}

// The softmax of one row, as exponentials relative to the largest of their block, and the blocks' factors.
template <typename T>
struct SoftmaxRow {
  const int64_t width, blocks;
  std::vector<T> exps, factors, shifts, tops;

  explicit SoftmaxRow(int64_t prototypes)
      : width(prototypes),
        blocks((prototypes + kBlock - 1) / kBlock),
        exps(prototypes),
        factors(blocks),
        shifts(blocks),
        tops(blocks) {}

  int64_t size(int64_t b) const { return std::min(kBlock, width - b * kBlock); }

  template <typename In>
  void read(const In* scores, const T* potentials, T scale) {
    int64_t best = 0;
    const auto above = [&](int64_t b, int64_t c) { return (shifts[b] - shifts[c]) * scale + (tops[b] - tops[c]); };
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t k = b * kBlock, n = size(b);
      shifts[b] = finite(row_max(scores + k, n, T()));
      tops[b] = finite(lift(scores + k, potentials + k, n, shifts[b], scale, exps.data() + k));
      factors[b] = exp_row(exps.data() + k, n, tops[b]);
      if (factors[b] > 0 && (!(factors[best] > 0) || above(b, best) > 0)) best = b;
    }
    double total = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      // A block of -inf alone has exponentials of 0, whatever its factor, which must be finite.
      const T factor = factors[b] == 0 ? T(0) : vector_exp(above(b, best));
      total += static_cast<double>(factors[b]) * factor;
      factors[b] = factor;
    }
    for (int64_t b = 0; b < blocks; ++b) factors[b] = static_cast<T>(factors[b] / total);
  }
};

template <typename In>
void peaks(const Sinkhorn& p, int threads) {
  using T = Wide<In>;
  const auto* scores = static_cast<const In*>(p.scores);
  auto *all_tops = static_cast<T*>(p.tops), *all_sums = static_cast<T*>(p.out);
  const int64_t strips = (p.prototypes + kStrip - 1) / kStrip;
  threads = static_cast<int>(std::clamp<int64_t>(strips, 1, threads));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t k = strip * kStrip, n = std::min(kStrip, p.prototypes - k);
    T shifts[kStrip], *tops = all_tops + k, *sums = all_sums + k;
    std::fill_n(tops, n, -std::numeric_limits<T>::infinity());
    std::fill_n(sums, n, T(0));
    for (int64_t i = 0; i < p.samples; ++i) {
      if (p.takes<T>(i)) raise(scores + i * p.row_stride + k, n, tops);
    }
    for (int64_t j = 0; j < n; ++j) shifts[j] = finite(tops[j]);
    for (int64_t i = 0; i < p.samples; ++i) {
      if (p.takes<T>(i)) add_exp(scores + i * p.row_stride + k, n, shifts, static_cast<T>(p.scale), sums);
    }
  }
}

template <typename In>
void masses(const Sinkhorn& p, int threads) {
  using T = Wide<In>;
  const auto* scores = static_cast<const In*>(p.scores);
  const auto* potentials = static_cast<const T*>(p.potentials);
  auto* out = static_cast<T*>(p.out);
  const int64_t chunks = (p.samples + kSinkhornChunk - 1) / kSinkhornChunk;
  threads = static_cast<int>(std::clamp<int64_t>(chunks, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    SoftmaxRow<T> row(p.prototypes);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      T* sums = static_cast<T*>(p.partial) + chunk * p.prototypes;
      std::fill_n(sums, p.prototypes, T(0));
      const int64_t end = std::min(p.samples, (chunk + 1) * kSinkhornChunk);
      for (int64_t i = chunk * kSinkhornChunk; i < end; ++i) {
        if (!p.takes<T>(i)) continue;
        row.read(scores + i * p.row_stride, potentials, static_cast<T>(p.scale));
        for (int64_t b = 0; b < row.blocks; ++b) {
          add_scaled(row.exps.data() + b * kBlock, row.size(b), row.factors[b], sums + b * kBlock);
        }
      }
    }
  }
  std::fill_n(out, p.prototypes, T(0));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    add_scaled(static_cast<T*>(p.partial) + chunk * p.prototypes, p.prototypes, T(1), out);
  }
}

template <typename In>
void assign(const Sinkhorn& p, int64_t rows, int threads) {
  using T = Wide<In>;
  const auto* scores = static_cast<const In*>(p.scores);
  auto* out = static_cast<T*>(p.out);
  const int64_t bytes = p.prototypes * static_cast<int64_t>(sizeof(T));
  const bool streamed = prepare_large_output(out, rows * bytes).streamed;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    SoftmaxRow<T> row(p.prototypes);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      row.read(scores + i * p.row_stride, static_cast<const T*>(p.potentials), static_cast<T>(p.scale));
      for (int64_t b = 0; b < row.blocks; ++b) {
        const int64_t k = b * kBlock;
        T* to = streamed ? row.exps.data() + k : out + i * p.prototypes + k;
        scaled(row.exps.data() + k, row.size(b), row.factors[b], to);
        if (streamed) stream(out + i * p.prototypes + k, to, row.size(b) * static_cast<int64_t>(sizeof(T)));
      }
    }
    if (streamed) stream_fence();
  }
}

// A prototype that no sample reaches within the range of the type stays as it is.
template <typename T>
T log_mass(T mass) {
  return mass == 0 ? T(0) : std::log(mass);
}

template <typename T>
void subtract_largest(T* potentials, int64_t n) {
  const T largest = *std::max_element(potentials, potentials + n);
  for (int64_t k = 0; k < n; ++k) potentials[k] -= largest;
}

template <typename In>
void potentials(const Sinkhorn& params, int iterations, int threads) {
  using T = Wide<In>;
  Sinkhorn p = params;
  const int64_t n = p.prototypes;
  std::vector<T> sums(n), tops(n);
  auto* found = static_cast<T*>(p.out);
  p.potentials = found;
  p.out = sums.data();
  p.tops = tops.data();
  peaks<In>(p, threads);
  const T highest = *std::max_element(tops.begin(), tops.end());
  for (int64_t k = 0; k < n; ++k) {
    const T below = tops[k] == -std::numeric_limits<T>::infinity() ? T(0) : highest - tops[k];
    found[k] = below * static_cast<T>(p.scale) - log_mass(sums[k]);
  }
  for (int i = 1; i < iterations; ++i) {
    subtract_largest(found, n);
    masses<In>(p, threads);
    for (int64_t k = 0; k < n; ++k) found[k] -= log_mass(sums[k]);
  }
  subtract_largest(found, n);
}

}  // namespace

void sinkhorn_potentials(const Sinkhorn& p, int iterations, int threads) {
  by_dtype(p.dtype, [&](auto element) { potentials<decltype(element)>(p, iterations, threads); });
}

void sinkhorn_peaks(const Sinkhorn& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { peaks<decltype(element)>(p, threads); });
}

void sinkhorn_masses(const Sinkhorn& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { masses<decltype(element)>(p, threads); });
}

void sinkhorn_assign(const Sinkhorn& p, int64_t rows, int threads) {
  by_dtype(p.dtype, [&](auto element) { assign<decltype(element)>(p, rows, threads); });
}

}  // namespace sslfast::cpu
