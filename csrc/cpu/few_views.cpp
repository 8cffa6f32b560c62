#include "sslfast/few_views.h"

#include <algorithm>

#include "isa.h"
#include "logit_rows.h"

namespace sslfast::cpu {
namespace {

template <typename T>
inline __attribute__((always_inline)) double losses_body(const DecoupledLosses<T>& p) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < p.n; ++i) {
    const T weight = p.weights != nullptr ? p.weights[i] : T(1);
    sum += static_cast<double>(p.lse[i] - weight * p.positive[i]);
    p.shares[i] = p.share;
    p.pulls[i] = -p.share * weight;
  }
  return sum;
}

template <typename T>
void weights_of(T* x, int64_t samples) {
  const T sum = row_exp_in_place(x, samples, row_max(x, samples)), share = static_cast<T>(samples) / sum;
  for (int64_t i = 0; i < samples; ++i) x[i] = T(2) - share * x[i];
  std::copy_n(x, samples, x + samples);
}

}  // namespace

SSLFAST_ISA_CLONES double decoupled_losses(const DecoupledLosses<float>& losses) { return losses_body(losses); }
double decoupled_losses(const DecoupledLosses<double>& losses) { return losses_body(losses); }

void mises_fisher_weights(float* x, int64_t samples) { weights_of(x, samples); }
void mises_fisher_weights(double* x, int64_t samples) { weights_of(x, samples); }

}  // namespace sslfast::cpu
