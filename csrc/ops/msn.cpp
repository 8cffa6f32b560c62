// MSN's cross-entropies and sums of shares in one read of the anchors' logits, and their gradient, written over the
// logits, in another; no share is written. Between the two are the sums over all anchors, or over all ranks. The GPU
// implementation is kernels/msn.py.
#include "sslfast/msn.h"

#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

void check_rows(const Tensor& logits, const Tensor& targets) {
  check(logits.is_cpu() && logits.dim() == 2 && logits.is_contiguous() && logits.size(1) > 0,
        "msn: logits must be (anchors, K), contiguous");
  check(targets.is_cpu() && targets.dim() == 2 && targets.is_contiguous() && targets.size(1) == logits.size(1) &&
            targets.size(0) > 0 && logits.size(0) % targets.size(0) == 0,
        "msn: targets must be (samples, K), contiguous, and divide the anchors");
  check((logits.scalar_type() == ScalarType::Float || logits.scalar_type() == ScalarType::Double) &&
            targets.scalar_type() == logits.scalar_type(),
        "msn: logits and targets must be float32, or float64");
}

template <typename T>
void run_rows(const Tensor& logits, const Tensor& targets, double scale, const Tensor& losses, const Tensor& stats,
              const Tensor& shares, bool need_shares) {
  const int64_t anchors = logits.size(0), width = logits.size(1);
  const int64_t chunks = (anchors + kMsnChunk - 1) / kMsnChunk;
  Tensor partial = empty({need_shares ? chunks : 0, width}, logits.scalar_type(), logits);
  T* tops = stats.mutable_data_ptr<T>();
  const MsnRows<T> p{logits.const_data_ptr<T>(),
                     targets.const_data_ptr<T>(),
                     anchors,
                     targets.size(0),
                     width,
                     static_cast<T>(scale),
                     losses.mutable_data_ptr<T>(),
                     tops,
                     tops + anchors,
                     data_if<T>(need_shares, partial),
                     data_if<T>(need_shares, shares)};
  launch(cpu::msn_rows<T>, p, logits);
}

std::tuple<Tensor, Tensor, Tensor> msn_rows(const Tensor& logits, const Tensor& targets, double scale,
                                            bool need_shares) {
  check_rows(logits, targets);
  const ScalarType dtype = logits.scalar_type();
  Tensor losses = empty({logits.size(0)}, dtype, logits), stats = empty({2, logits.size(0)}, dtype, logits);
  Tensor shares = empty({need_shares ? logits.size(1) : 0}, dtype, logits);
  const auto run = dtype == ScalarType::Double ? run_rows<double> : run_rows<float>;
  run(logits, targets, scale, losses, stats, shares, need_shares);
  return {losses, stats, shares};
}

template <typename T>
void run_gradient(const Tensor& logits, const Tensor& targets, const Tensor& stats, const std::optional<Tensor>& levels,
                  double scale, double factor) {
  const T* tops = stats.const_data_ptr<T>();
  const MsnGradient<T> p{logits.mutable_data_ptr<T>(),
                         targets.const_data_ptr<T>(),
                         tops,
                         tops + logits.size(0),
                         levels ? levels->const_data_ptr<T>() : nullptr,
                         logits.size(0),
                         targets.size(0),
                         logits.size(1),
                         static_cast<T>(scale),
                         static_cast<T>(factor)};
  launch(cpu::msn_gradient<T>, p, logits);
}

void msn_gradient_(const Tensor& logits, const Tensor& targets, const Tensor& stats,
                   const std::optional<Tensor>& levels, double scale, double factor) {
  check_rows(logits, targets);
  const ScalarType dtype = logits.scalar_type();
  check(stats.is_cpu() && stats.is_contiguous() && stats.numel() == 2 * logits.size(0) && stats.scalar_type() == dtype,
        "msn_gradient_: stats must be those of msn_rows");
  check(!levels || (levels->is_cpu() && levels->is_contiguous() && levels->numel() == logits.size(1) &&
                    levels->scalar_type() == dtype),
        "msn_gradient_: levels must be (K,), contiguous, in the dtype of the logits");
  const auto run = dtype == ScalarType::Double ? run_gradient<double> : run_gradient<float>;
  run(logits, targets, stats, levels, scale, factor);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("msn_rows", TORCH_BOX(&msn_rows));
  m.impl("msn_gradient_", TORCH_BOX(&msn_gradient_));
}

}  // namespace sslfast::ops
