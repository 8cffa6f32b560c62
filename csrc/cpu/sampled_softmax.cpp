// Loss by loss: the logits by products of one row with those of the table, four at a time, then the derivatives, and
// with them, while the rows of the table are in the caches, the gradient of the row. For the table the terms are listed
// by its rows (a counting sort), so that each row of the gradient is summed by one thread, in the order of the losses.
#include "sslfast/sampled_softmax.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "element_types.h"
#include "isa.h"
#include "listed_rows.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kWorkPerThread = 1 << 16;  // multiplications

#define SSLFAST_INLINE inline __attribute__((always_inline))

// z <- exp(z - top), and the sum
template <typename T>
SSLFAST_INLINE T exp_body(int64_t n, T top, T* z) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) {
    z[k] = vector_exp(z[k] - top);
    sum += z[k];
  }
  return sum;
}

// z <- (z - along x) * factor
template <typename T>
SSLFAST_INLINE void project_body(const T* x, int64_t width, T along, T factor, T* z) {
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) z[d] = (z[d] - along * x[d]) * factor;
}

// What is compiled per instruction set has no templates.
#define SSLFAST_ROW(T, CLONES)                                                  \
  CLONES T exponentials(int64_t n, T top, T* z) { return exp_body(n, top, z); } \
  CLONES void project(const T* x, int64_t width, T along, T factor, T* z) { project_body(x, width, along, factor, z); }
SSLFAST_ROW(float, SSLFAST_ISA_CLONES)
SSLFAST_ROW(double, )
#undef SSLFAST_ROW

template <typename T>
T inverse_of(T square) {
  const T norm = std::sqrt(square);
  return 1 / (norm < T(kLeastCosineNorm) ? T(kLeastCosineNorm) : norm);  // a NaN stays
}

// The gradient of x from that of its unit vector, in place; factor is 1 / its norm. No projection below the eps.
template <typename T>
void through_norm(const T* x, int64_t width, T factor, T* grad) {
  const T along = factor < T(1 / kLeastCosineNorm) ? dot(grad, x, width) * factor * factor : T(0);
  project(x, width, along, factor, grad);
}

template <typename T, typename In>
struct Work {
  const SampledSoftmax& p;
  const int threads;
  const In* rows = static_cast<const In*>(p.rows);
  const In* table = static_cast<const In*>(p.table);
  const T scale = static_cast<T>(p.scale);
  T* terms = static_cast<T*>(p.terms);
  T* inverse_norm = static_cast<T*>(p.inverse_norm);
  const int64_t columns = p.negatives + 1;
  std::vector<T> row_factors = std::vector<T>(p.losses_count);  // 1 / norm, or 1
  std::vector<uint8_t> made = std::vector<uint8_t>(p.losses_count);

  bool counts(int64_t r) const { return p.index[r] != -1 && p.positives[r] != -1; }

  const int32_t* candidates(int64_t r) const {
    return p.candidates + (p.candidates_of_rows ? p.index[r] : r) * p.negatives;
  }

  // Whether all numbers of a loss name rows.
  bool inside(int64_t r) const {
    const int64_t index = p.index[r], positive = p.positives[r];
    if (index < 0 || index >= p.row_count || positive < 0 || positive >= p.table_rows) return false;
    const int32_t* at = candidates(r);
    return std::all_of(at, at + p.negatives, [&](int32_t j) { return j >= 0 && j < p.table_rows; });
  }

  bool twin(int64_t j, int64_t positive) const {
    if (j == positive) return true;
    if (p.twins == Twins::kSameCodes) {
      const int64_t *a = p.codes + j * p.code_width, *b = p.codes + positive * p.code_width;
      return std::equal(a, a + p.code_width, b);
    }
    if (p.twins != Twins::kSameValues) return false;
    const In *a = table + j * p.table_stride, *b = table + positive * p.table_stride;
    for (int64_t d = 0; d < p.width; ++d) {
      if (!(widen(a[d]) == widen(b[d]))) return false;
    }
    return true;
  }

  // The norms of the rows of the table that some loss names.
  void norms() {
    std::vector<uint8_t> named(p.table_rows);
    for (int64_t r = 0; r < p.losses_count; ++r) {
      if (!counts(r) || !inside(r)) continue;
      named[p.positives[r]] = 1;
      const int32_t* at = candidates(r);
      for (int64_t k = 0; k < p.negatives; ++k) named[at[k]] = 1;
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      std::vector<T> wide(p.width);
#pragma omp for
      for (int64_t j = 0; j < p.table_rows; ++j) {
        if (named[j]) inverse_norm[j] = inverse_of(widen_row(table + j * p.table_stride, p.width, wide.data()));
      }
    }
  }

  // The loss, its derivatives in the logits, and the gradient of its row.
  void loss(int64_t r, std::vector<T>& x, std::vector<int64_t>& at, std::vector<T>& shares) {
    constexpr T kNone = -std::numeric_limits<T>::infinity();
    T *z = terms + r * columns, *losses = static_cast<T*>(p.losses);
    if (!counts(r) || !inside(r)) {
      losses[r] = counts(r) ? std::numeric_limits<T>::quiet_NaN() : T(0);
      return;
    }
    const auto *offsets = static_cast<const T*>(p.offsets), *corrections = static_cast<const T*>(p.corrections);
    at[0] = p.positives[r];
    std::copy(candidates(r), candidates(r) + p.negatives, at.begin() + 1);
    const T square = widen_row(rows + p.index[r] * p.row_stride, p.width, x.data());
    const T factor = p.cosine ? inverse_of(square) : T(1);
    row_factors[r] = factor;
    made[r] = 1;
    dot_listed(x.data(), table, p.table_stride, at.data(), columns, p.width, z);
    T best = kNone;  // of the others
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t j = at[k];
      z[k] *= scale * factor;
      if (p.cosine) z[k] *= inverse_norm[j];
      if (offsets) z[k] += offsets[j];
      if (k == 0) continue;
      z[k] -= static_cast<T>(p.shift) + (corrections ? corrections[j] : T(0));
      if (twin(j, at[0])) z[k] = kNone;
      best = z[k] > best ? z[k] : best;
    }
    // Relative to the right logit unless another is larger: of a small loss nothing is lost.
    const T right = z[0], top = best <= right ? right : best, own = std::exp(right - top);
    const T sum = exponentials(p.negatives, top, z + 1);
    losses[r] = best <= right ? std::log1p(sum) : std::log(sum + own) + (top - right);
    const T share = (p.weights ? static_cast<const T*>(p.weights)[r] : T(1)) / (sum + own);
    z[0] = -sum * share;
    for (int64_t k = 1; k < columns; ++k) z[k] *= share;
    if (!p.d_rows) return;
    for (int64_t k = 0; k < columns; ++k) shares[k] = z[k] * scale * (p.cosine ? inverse_norm[at[k]] : T(1));
    T* grad = static_cast<T*>(p.d_rows) + p.index[r] * p.width;
    sum_listed(shares.data(), table, p.table_stride, at.data(), columns, p.width, grad);
    if (p.cosine) through_norm(x.data(), p.width, factor, grad);
  }

  void all_losses() {
    if (p.d_rows) std::memset(p.d_rows, 0, p.row_count * p.width * sizeof(T));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      std::vector<T> x(p.width), shares(columns);
      std::vector<int64_t> at(columns);
#pragma omp for
      for (int64_t r = 0; r < p.losses_count; ++r) loss(r, x, at, shares);
    }
  }

  int64_t table_row(int64_t r, int64_t k) const { return k == 0 ? p.positives[r] : candidates(r)[k - 1]; }

  template <typename Function>
  void each_term(Function function) const {
    for (int64_t r = 0; r < p.losses_count; ++r) {
      if (!made[r]) continue;
      const T* z = terms + r * columns;
      for (int64_t k = 0; k < columns; ++k) {
        if (z[k] != T(0)) function(r, table_row(r, k), z[k]);
      }
    }
  }

  // The gradients of the table and the offsets, from the terms of each row of the table in the order of the losses.
  void table_gradients() {
    std::vector<int64_t> ends(p.table_rows + 1);
    each_term([&](int64_t, int64_t j, T) { ++ends[j + 1]; });
    for (int64_t j = 0; j < p.table_rows; ++j) ends[j + 1] += ends[j];
    std::vector<int64_t> next(ends.begin(), ends.end() - 1), at(ends.back());
    std::vector<T> shares(at.size());
    auto* d_offsets = static_cast<T*>(p.d_offsets);
    if (d_offsets) std::fill(d_offsets, d_offsets + p.table_rows, T(0));
    each_term([&](int64_t r, int64_t j, T term) {
      at[next[j]] = p.index[r];
      shares[next[j]++] = term * scale * row_factors[r];
      if (d_offsets) d_offsets[j] += term;
    });
    if (!p.d_table) return;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      std::vector<T> wide(p.width);
#pragma omp for schedule(dynamic, 16)
      for (int64_t j = 0; j < p.table_rows; ++j) {
        T* grad = static_cast<T*>(p.d_table) + j * p.width;
        const int64_t begin = ends[j], n = ends[j + 1] - begin;
        sum_listed(shares.data() + begin, rows, p.row_stride, at.data() + begin, n, p.width, grad);
        if (!p.cosine || n == 0) continue;
        widen_row(table + j * p.table_stride, p.width, wide.data());
        through_norm(wide.data(), p.width, inverse_norm[j], grad);
      }
    }
  }
};

}  // namespace

void sampled_softmax(const SampledSoftmax& p, int threads) {
  const int64_t work = p.losses_count * (p.negatives + 1) * p.width;
  threads = static_cast<int>(std::clamp<int64_t>(work / kWorkPerThread, 1, threads));
  by_dtype(p.dtype, [&](auto element) {
    using In = decltype(element);
    Work<Wide<In>, In> work_of{p, threads};
    if (p.cosine) work_of.norms();
    work_of.all_losses();
    if (p.d_table || p.d_offsets) work_of.table_gradients();
  });
}

}  // namespace sslfast::cpu
