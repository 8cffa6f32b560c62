#include "sslfast/label_means.h"

#include <algorithm>
#include <vector>

#include "isa.h"
#include "label_lists.h"
#include "lane_sums.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kStrip = 64;  // numbers of all columns that one thread adds

template <typename T>
inline __attribute__((always_inline)) void add_body(const T* x, int64_t n, T* to) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) to[d] += x[d];
}
template <typename T>
inline __attribute__((always_inline)) T dot_body(const T* x, const T* y, int64_t n) {
  return sum_of<T>(n, [&](int64_t d) { return x[d] * y[d]; });
}
// The product of x with y less z.
template <typename T>
inline __attribute__((always_inline)) T dot_less_body(const T* x, const T* y, const T* z, int64_t n) {
  return sum_of<T>(n, [&](int64_t d) { return x[d] * (y[d] - z[d]); });
}
template <typename T>
inline __attribute__((always_inline)) T total_body(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t d) { return x[d]; });
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROWS(T, CLONES)                                                                          \
  CLONES void add(const T* x, int64_t n, T* to) { add_body(x, n, to); }                                  \
  CLONES T dot(const T* x, const T* y, int64_t n) { return dot_body(x, y, n); }                          \
  CLONES T dot_less(const T* x, const T* y, const T* z, int64_t n) { return dot_less_body(x, y, z, n); } \
  CLONES T total(const T* x, int64_t n) { return total_body(x, n); }
SSLFAST_ROWS(float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, )
#undef SSLFAST_ROWS

}  // namespace

template <typename T>
void label_means(const LabelMeans<T>& p, int threads) {
  LabelNumbers classes(p.m);
  std::vector<int64_t> counts, ends;  // of a class; its first column, plus its second where it has two or more
  for (int64_t j = 0; j < p.m; ++j) {
    const int32_t c = classes.add(p.ref_labels[j]);
    if (c == static_cast<int32_t>(counts.size())) {
      counts.push_back(0);
      ends.push_back(j);
    }
    p.col_classes[j] = c;
    if (++counts[c] == 2) ends[c] += j;
  }
  const int64_t width = p.width;
  std::vector<T> sums(classes.size() * width, T(0));
  const int adders = team(p.m * width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(adders) if (adders > 1)
  for (int64_t d = 0; d < width; d += kStrip) {
    const int64_t size = std::min(kStrip, width - d);
    for (int64_t j = 0; j < p.m; ++j) add(p.columns + j * width + d, size, sums.data() + p.col_classes[j] * width + d);
  }
  const auto copy_of = [&](int64_t i) {
    if (p.itself) return i;
    const int64_t copy = p.copies ? p.copies[i] : -1;
    return copy >= 0 && p.ref_labels[copy] == p.labels[i] ? copy : -1;
  };
  int64_t anchors = 0;
  for (int64_t i = 0; i < p.n; ++i) {
    const int32_t c = classes.find(p.labels[i]);
    p.row_classes[i] = c;
    p.counts[i] = c < 0 ? 0 : counts[c] - (copy_of(i) >= 0);
    p.partners[i] = p.counts[i] == 1 && !p.copies ? ends[c] - (p.itself ? i : 0) : -1;
    anchors += p.counts[i] > 0;
  }
  const T share = T(1) / static_cast<T>(std::max<int64_t>(anchors, 1));
  const int readers = team(p.n * width, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(readers) if (readers > 1)
  for (int64_t i = 0; i < p.n; ++i) {
    const int64_t count = p.counts[i], copy = copy_of(i);
    const T *row = p.rows + i * width, *sum = sums.data() + std::max(p.row_classes[i], 0) * width;
    T along = 0;
    if (count) along = copy < 0 ? dot(row, sum, width) : dot_less(row, sum, p.columns + copy * width, width);
    p.mean[i] = static_cast<T>(p.scale) * along / static_cast<T>(std::max<int64_t>(count, 1));
    p.share[i] = count ? share : T(0);
    p.label_weights[i] = count && p.partners[i] < 0 ? share / static_cast<T>(count) : T(0);
  }
  const T of_rows = p.itself ? T(0) : total(p.rows, p.n * width);
  *p.poison = T(0) * (of_rows + total(sums.data(), static_cast<int64_t>(sums.size())));
}

template void label_means(const LabelMeans<float>&, int);
template void label_means(const LabelMeans<double>&, int);

}  // namespace sslfast::cpu
