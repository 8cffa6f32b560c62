#include "sslfast/soft_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "element_types.h"
#include "isa.h"
#include "large_output.h"
#include "vector_exp.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kBlock = 2048;  // prototypes that are read a second time while they are in L1

#define SSLFAST_INLINE inline __attribute__((always_inline))

// The largest of t - center; t goes into `sums` on the way.
template <typename T, typename In>
SSLFAST_INLINE T teacher_max_body(const In* t, const T* center, int64_t n, T* sums) {
  T best = -std::numeric_limits<T>::infinity();
  if (sums) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) sums[k] += widen(t[k]);
  }
  if (center) {
#pragma omp simd reduction(max : best)
    for (int64_t k = 0; k < n; ++k) {
      const T x = widen(t[k]) - center[k];
      best = x > best ? x : best;
    }
    return best;
  }
#pragma omp simd reduction(max : best)
  for (int64_t k = 0; k < n; ++k) best = widen(t[k]) > best ? widen(t[k]) : best;
  return best;
}

// out = exp((t - center - shift) * scale), and its sum.
template <typename T, typename In>
SSLFAST_INLINE T teacher_exp_body(const In* t, const T* center, int64_t n, T shift, T scale, T* out) {
  T sum = 0;
  if (center) {
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; ++k) {
      out[k] = vector_exp((widen(t[k]) - center[k] - shift) * scale);
      sum += out[k];
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) {
    out[k] = vector_exp((widen(t[k]) - shift) * scale);
    sum += out[k];
  }
  return sum;
}

template <typename T, typename In>
SSLFAST_INLINE T student_max_body(const In* s, const T* target, int64_t n, T* mass) {
  T best = -std::numeric_limits<T>::infinity(), total = 0;
#pragma omp simd reduction(max : best) reduction(+ : total)
  for (int64_t k = 0; k < n; ++k) {
    best = widen(s[k]) > best ? widen(s[k]) : best;
    total += target[k];
  }
  *mass = total;
  return best;
}

// out = exp((s - shift) * scale) and its sum; `along` is the sum of target * (s - shift). A target that has underflowed
// to 0 times a logit of -inf would be NaN: the product is with a finite number, and *least says whether there was one.
template <typename T, typename In>
SSLFAST_INLINE T student_exp_body(const In* s, const T* target, int64_t n, T shift, T scale, T* out, T* along,
                                  T* least) {
  constexpr T kLowest = std::numeric_limits<T>::lowest();
  T sum = 0, product = 0, low = 0;
#pragma omp simd reduction(+ : sum, product) reduction(min : low)
  for (int64_t k = 0; k < n; ++k) {
    const T y = widen(s[k]) - shift;
    out[k] = vector_exp(y * scale);
    sum += out[k];
    low = y < low ? y : low;
    product += target[k] * (y < kLowest ? kLowest : y);
  }
  *along = product;
  *least = low;
  return sum;
}

template <typename T, typename Out>
SSLFAST_INLINE void gradient_body(const T* exps, const T* target, int64_t n, T share, T factor, Out* grad) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) narrow((exps[k] * share - target[k]) * factor, grad[k]);
}

// What is compiled per instruction set has no templates; double has no vector_exp of its own.
#define SSLFAST_ROWS(T, In, CLONES)                                                                             \
  CLONES T teacher_max(const In* t, const T* center, int64_t n, T* sums) {                                      \
    return teacher_max_body(t, center, n, sums);                                                                \
  }                                                                                                             \
  CLONES T teacher_exp(const In* t, const T* center, int64_t n, T shift, T scale, T* out) {                     \
    return teacher_exp_body(t, center, n, shift, scale, out);                                                   \
  }                                                                                                             \
  CLONES T student_max(const In* s, const T* target, int64_t n, T* mass) {                                      \
    return student_max_body(s, target, n, mass);                                                                \
  }                                                                                                             \
  CLONES T student_exp(const In* s, const T* target, int64_t n, T shift, T scale, T* out, T* along, T* least) { \
    return student_exp_body(s, target, n, shift, scale, out, along, least);                                     \
  }                                                                                                             \
  CLONES void gradient(const T* exps, const T* target, int64_t n, T share, T factor, In* grad) {                \
    gradient_body(exps, target, n, share, factor, grad);                                                        \
  }
SSLFAST_ROWS(float, float, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(float, Brain16, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(float, Half16, SSLFAST_ISA_CLONES)
SSLFAST_ROWS(double, double, )
#undef SSLFAST_ROWS

SSLFAST_ISA_CLONES void scale_row(float* x, int64_t n, float factor) {
  for (int64_t k = 0; k < n; ++k) x[k] *= factor;
}
void scale_row(double* x, int64_t n, double factor) {
  for (int64_t k = 0; k < n; ++k) x[k] *= factor;
}
SSLFAST_ISA_CLONES void add_row(const float* x, int64_t n, float* to) {
  for (int64_t k = 0; k < n; ++k) to[k] += x[k];
}
void add_row(const double* x, int64_t n, double* to) {
  for (int64_t k = 0; k < n; ++k) to[k] += x[k];
}

// A shift for a block's exponentials that is never infinite: a block of -inf alone has exponentials of 0.
template <typename T>
T finite_shift(T best) {
  return best == -std::numeric_limits<T>::infinity() ? T(0) : best;
}

// One thread's work on one sample after the other. Exponentials are taken relative to the largest logit of their
// block, and the blocks' factors applied when the row's largest is known: each logit costs one exponential.
template <typename T, typename Student, typename Teacher>
struct Worker {
  const SoftCrossEntropy& p;
  const int64_t blocks;
  const bool streamed;
  std::vector<T> targets;                     // (teacher_views, prototypes)
  std::vector<T> mixed;                       // (prototypes): a sum of targets
  std::vector<T> exps;                        // (prototypes), or of one block where there is no gradient
  std::vector<T> tops, sums, masses, shifts;  // of blocks
  std::vector<const T*> picked;
  std::vector<Student> line;

  Worker(const SoftCrossEntropy& params, bool stream_out)
      : p(params),
        blocks((params.prototypes + kBlock - 1) / kBlock),
        streamed(stream_out),
        targets(params.teacher_views * params.prototypes),
        mixed(params.teacher_views > 1 ? params.prototypes : 0),
        exps(params.grads ? params.prototypes : kBlock),
        tops(blocks),
        sums(blocks),
        masses(blocks),
        shifts(blocks),
        picked(params.teacher_views),
        line(streamed ? kBlock : 0) {}

  // The log of the row's sum relative to its largest logit, which goes into *top; the blocks' factors into sums.
  T finish(T scale, T* top) {
    const T best = *std::max_element(tops.begin(), tops.end());
    double total = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const T factor = tops[b] == best ? T(1) : vector_exp((tops[b] - best) * scale);
      total += static_cast<double>(sums[b]) * factor;
      sums[b] = factor;
    }
    for (int64_t b = 0; b < blocks; ++b) sums[b] = static_cast<T>(sums[b] / total);
    *top = best;
    return static_cast<T>(std::log(total));
  }

  void teacher(int64_t view, int64_t sample, T* column_sums) {
    const auto* t = static_cast<const Teacher*>(p.teachers[view].data) + sample * p.teachers[view].row_stride;
    const auto* center = static_cast<const T*>(p.centers);
    if (center) center += view * p.center_stride;
    const T scale = static_cast<T>(p.teacher_scale);
    T* target = targets.data() + view * p.prototypes;
    for (int64_t b = 0, k = 0; b < blocks; ++b, k += kBlock) {
      const int64_t n = std::min(kBlock, p.prototypes - k);
      const T* c = center ? center + k : nullptr;
      tops[b] = teacher_max(t + k, c, n, column_sums ? column_sums + k : nullptr);
      sums[b] = teacher_exp(t + k, c, n, finite_shift(tops[b]), scale, target + k);
    }
    T top;
    finish(scale, &top);
    for (int64_t b = 0, k = 0; b < blocks; ++b, k += kBlock) {
      scale_row(target + k, std::min(kBlock, p.prototypes - k), sums[b]);
    }
  }

  void student(int64_t view, int64_t sample, const T* target, int64_t count, T factor) {
    const auto* s = static_cast<const Student*>(p.students[view].data) + sample * p.students[view].row_stride;
    const T scale = static_cast<T>(p.student_scale);
    double along = 0;  // relative to the largest logit, so that what is lost are digits of the loss
    T lowest = 0;
    for (int64_t b = 0, k = 0; b < blocks; ++b, k += kBlock) {
      const int64_t n = std::min(kBlock, p.prototypes - k);
      T product, least;
      tops[b] = student_max(s + k, target + k, n, &masses[b]);
      sums[b] = student_exp(s + k, target + k, n, finite_shift(tops[b]), scale, exps.data() + (p.grads ? k : 0),
                            &product, &least);
      along += product;
      lowest = std::min(lowest, least);
    }
    T top;
    for (int64_t b = 0; b < blocks; ++b) shifts[b] = finite_shift(tops[b]);
    const T log_sum = finish(scale, &top);
    for (int64_t b = 0; b < blocks; ++b) along += static_cast<double>(shifts[b] - top) * masses[b];
    if (lowest == -std::numeric_limits<T>::infinity()) along += lowest;  // also where the target has underflowed
    const double loss = count * static_cast<double>(log_sum) - along * scale;
    static_cast<T*>(p.losses)[view * p.samples + sample] = static_cast<T>(loss);
    if (!p.grads) return;
    auto* grad = static_cast<Student*>(p.grads) + (view * p.samples + sample) * p.prototypes;
    for (int64_t b = 0, k = 0; b < blocks; ++b, k += kBlock) {
      const int64_t n = std::min(kBlock, p.prototypes - k);
      gradient(exps.data() + k, target + k, n, sums[b] * count, factor, streamed ? line.data() : grad + k);
      if (streamed) stream(grad + k, line.data(), n * static_cast<int64_t>(sizeof(Student)));
    }
  }

  // The sum of the targets of view `view`, and how many they are.
  const T* target_of(int64_t view, int64_t* count) {
    *count = 0;
    for (int64_t g = 0; g < p.teacher_views; ++g) {
      if (!(p.skip_same_view && g == view)) picked[(*count)++] = targets.data() + g * p.prototypes;
    }
    if (*count < 2) return picked[0];
    std::copy_n(picked[0], p.prototypes, mixed.data());
    for (int64_t i = 1; i < *count; ++i) add_row(picked[i], p.prototypes, mixed.data());
    return mixed.data();
  }

  void leave_out(int64_t view, int64_t sample) {
    static_cast<T*>(p.losses)[view * p.samples + sample] = 0;
    if (!p.grads) return;
    auto* grad = static_cast<Student*>(p.grads) + (view * p.samples + sample) * p.prototypes;
    std::memset(static_cast<void*>(grad), 0, p.prototypes * sizeof(Student));
  }

  void sample(int64_t n, T* column_sums) {
    const T weight = p.weights ? static_cast<const T*>(p.weights)[n] : T(1);
    if (weight == 0) {
      for (int64_t view = 0; view < p.student_views; ++view) leave_out(view, n);
      return;
    }
    for (int64_t view = 0; view < p.teacher_views; ++view) teacher(view, n, column_sums);
    const T factor = static_cast<T>(weight * p.grad_factor);
    const T* target = nullptr;
    int64_t count = 0;
    for (int64_t view = 0; view < p.student_views; ++view) {
      // From the view behind the teachers' on, all predict the same.
      if (view == 0 || (p.skip_same_view && view <= p.teacher_views)) target = target_of(view, &count);
      count ? student(view, n, target, count, factor) : leave_out(view, n);
    }
  }
};

template <typename T, typename Student, typename Teacher>
void run(const SoftCrossEntropy& p, int threads) {
  const int64_t chunks = (p.samples + kSoftChunk - 1) / kSoftChunk, width = p.prototypes;
  bool streamed = false;
  if (p.grads) {
    const int64_t bytes = p.student_views * p.samples * width * static_cast<int64_t>(sizeof(Student));
    streamed = prepare_large_output(p.grads, bytes).streamed;
  }
  threads = static_cast<int>(std::clamp<int64_t>(chunks, 1, threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Worker<T, Student, Teacher> worker(p, streamed);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      T* column_sums = p.partial ? static_cast<T*>(p.partial) + chunk * width : nullptr;
      if (column_sums) std::fill_n(column_sums, width, T(0));
      const int64_t end = std::min(p.samples, (chunk + 1) * kSoftChunk);
      for (int64_t n = chunk * kSoftChunk; n < end; ++n) worker.sample(n, column_sums);
    }
    if (streamed) stream_fence();
  }
  if (!p.teacher_sum) return;
  auto* total = static_cast<T*>(p.teacher_sum);
  std::fill_n(total, width, T(0));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) add_row(static_cast<T*>(p.partial) + chunk * width, width, total);
}

}  // namespace

void soft_cross_entropy(const SoftCrossEntropy& p, int threads) {
  by_dtype(p.student_dtype, [&](auto student) {
    by_dtype(p.teacher_dtype, [&](auto teacher) {
      using Student = decltype(student);
      using Teacher = decltype(teacher);
      if constexpr (std::is_same_v<Wide<Student>, Wide<Teacher>>) run<Wide<Student>, Student, Teacher>(p, threads);
    });
  });
}

}  // namespace sslfast::cpu
