// Targets a token at a time: a row of each layer is widened, standardised and added in buffers of the first cache.
// Moments a sample at a time, in two passes over rows of which the second finds them in the caches.
#include "sslfast/masked_feature.h"

#include <cmath>
#include <limits>
#include <vector>

#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"

namespace sslfast::cpu {
namespace {

template <typename In, typename T>
struct Row {
  const In* from;
  int64_t n;
  const T *means, *scales;  // or null
  bool standardise;
  T eps;
  T* buffer;
};

template <typename T>
inline __attribute__((always_inline)) void layer_norm(T* x, int64_t n, T eps) {
  standardise_row(x, n, [&](T squares) __attribute__((always_inline)) {
    return T{1} / std::sqrt(squares / static_cast<T>(n) + eps);
  });
}

template <typename In, typename T>
inline __attribute__((always_inline)) void add_body(const Row<In, T>& r, T* sums) {
  if (r.means) {
    for (int64_t d = 0; d < r.n; ++d) sums[d] += (static_cast<T>(widen(r.from[d])) - r.means[d]) * r.scales[d];
  } else if (r.standardise) {
    for (int64_t d = 0; d < r.n; ++d) r.buffer[d] = static_cast<T>(widen(r.from[d]));
    layer_norm(r.buffer, r.n, r.eps);
    for (int64_t d = 0; d < r.n; ++d) sums[d] += r.buffer[d];
  } else {
    for (int64_t d = 0; d < r.n; ++d) sums[d] += static_cast<T>(widen(r.from[d]));
  }
}

template <typename T>
inline __attribute__((always_inline)) void finish_body(T* sums, int64_t n, int64_t layers, bool standardise, T eps) {
  for (int64_t d = 0; d < n; ++d) sums[d] /= static_cast<T>(layers);
  if (standardise) layer_norm(sums, n, eps);
}

// sums += row - origin, or its square.
template <typename In, typename T>
inline __attribute__((always_inline)) void moment_body(const In* row, int64_t n, const T* origin, bool squares,
                                                       T* sums) {
  if (!squares) {
    for (int64_t d = 0; d < n; ++d) sums[d] += static_cast<T>(widen(row[d])) - origin[d];
    return;
  }
  for (int64_t d = 0; d < n; ++d) {
    const T distance = static_cast<T>(widen(row[d])) - origin[d];
    sums[d] += distance * distance;
  }
}

#define SSLFAST_ROWS(In, T)                                                                              \
  SSLFAST_ISA_CLONES void add_layer(const Row<In, T>& r, T* sums) { add_body(r, sums); }                 \
  SSLFAST_ISA_CLONES void add_moment(const In* row, int64_t n, const T* origin, bool squares, T* sums) { \
    moment_body(row, n, origin, squares, sums);                                                          \
  }
SSLFAST_ROWS(float, float)
SSLFAST_ROWS(double, double)
SSLFAST_ROWS(Brain16, float)
SSLFAST_ROWS(Half16, float)
#undef SSLFAST_ROWS

#define SSLFAST_FINISH(T)                                                                              \
  SSLFAST_ISA_CLONES void finish_target(T* sums, int64_t n, int64_t layers, bool standardise, T eps) { \
    finish_body(sums, n, layers, standardise, eps);                                                    \
  }
SSLFAST_FINISH(float)
SSLFAST_FINISH(double)
#undef SSLFAST_FINISH

template <typename In>
const In* token(const Layers& layers, int64_t k, int64_t sample, int64_t place) {
  return static_cast<const In*>(layers.data[k]) + sample * layers.sample_stride[k] + place * layers.token_stride[k];
}

template <typename In>
void make_target(const FeatureTargets& p, int64_t r, Wide<In>* buffer) {
  using T = Wide<In>;
  const Layers& layers = p.layers;
  const int64_t id = p.ids[r], n = layers.width;
  T* out = static_cast<T*>(p.out) + r * n;
  const bool known = id >= 0 && id < layers.samples * layers.length;
  std::fill(out, out + n, known || id == -1 ? T{0} : std::numeric_limits<T>::quiet_NaN());
  if (!known) return;
  const int64_t sample = id / layers.length, place = id % layers.length;
  for (int64_t k = 0; k < layers.count; ++k) {
    const int64_t at = (k * layers.samples + sample) * n;
    const T* means = p.means ? static_cast<const T*>(p.means) + at : nullptr;
    const T* scales = p.means ? static_cast<const T*>(p.scales) + at : nullptr;
    const Row<In, T> row{
        token<In>(layers, k, sample, place), n, means, scales, p.layer_norm, static_cast<T>(p.eps), buffer};
    add_layer(row, out);
  }
  finish_target(out, n, layers.count, p.target_norm, static_cast<T>(p.eps));
}

// sums: of a sample's rows less an origin, or of the squares, in blocks, so that long samples lose nothing.
template <typename In>
void sum_sample(const Layers& layers, int64_t k, int64_t sample, const Wide<In>* origin, bool squares, Wide<In>* block,
                Wide<In>* sums) {
  constexpr int64_t kBlock = 32;
  const int64_t n = layers.width;
  std::fill(sums, sums + n, Wide<In>{0});
  for (int64_t first = 0; first < layers.length; first += kBlock) {
    std::fill(block, block + n, Wide<In>{0});
    const int64_t last = std::min(layers.length, first + kBlock);
    for (int64_t l = first; l < last; ++l) add_moment(token<In>(layers, k, sample, l), n, origin, squares, block);
    for (int64_t d = 0; d < n; ++d) sums[d] += block[d];
  }
}

template <typename In>
void make_moments(const FeatureMoments& p, int64_t k, int64_t sample) {
  using T = Wide<In>;
  const Layers& layers = p.layers;
  const int64_t n = layers.width, at = (k * layers.samples + sample) * n;
  T *means = static_cast<T*>(p.means) + at, *scales = static_cast<T*>(p.scales) + at;
  const T count = static_cast<T>(layers.length);
  std::vector<T> block(n), origin(n);  // the first token: features may lie far from 0
  const In* first = token<In>(layers, k, sample, 0);
  for (int64_t d = 0; layers.length && d < n; ++d) origin[d] = static_cast<T>(widen(first[d]));
  sum_sample<In>(layers, k, sample, origin.data(), false, block.data(), means);
  for (int64_t d = 0; d < n; ++d) means[d] = origin[d] + means[d] / count;
  sum_sample<In>(layers, k, sample, means, true, block.data(), scales);
  for (int64_t d = 0; d < n; ++d) scales[d] = T{1} / std::sqrt(scales[d] / count + static_cast<T>(p.eps));
}

}  // namespace

void feature_targets(const FeatureTargets& p, int threads) {
  const int64_t width = p.layers.width;
  by_dtype(p.layers.dtype, [&](auto element) {
    using In = decltype(element);
    const int used = team(p.rows * width * p.layers.count * static_cast<int64_t>(sizeof(In)), kBytesPerThread, threads);
    advise_huge_pages(p.out, p.rows * width * static_cast<int64_t>(sizeof(Wide<In>)));
#pragma omp parallel num_threads(used) if (used > 1)
    {
      std::vector<Wide<In>> buffer(width);
#pragma omp for
      for (int64_t r = 0; r < p.rows; ++r) make_target<In>(p, r, buffer.data());
    }
  });
}

void feature_moments(const FeatureMoments& p, int threads) {
  const int64_t count = p.layers.count * p.layers.samples;
  by_dtype(p.layers.dtype, [&](auto element) {
    using In = decltype(element);
    const int64_t bytes = count * p.layers.length * p.layers.width * static_cast<int64_t>(sizeof(In));
    const int used = team(bytes, kBytesPerThread, threads);
#pragma omp parallel for num_threads(used) if (used > 1)
    for (int64_t i = 0; i < count; ++i) make_moments<In>(p, i / p.layers.samples, i % p.layers.samples);
  });
}

}  // namespace sslfast::cpu
