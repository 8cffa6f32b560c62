// The negative cosine similarity and its gradients: both inputs read once, each gradient written once. A GPU runs
// losses/negative_cosine_similarity.py in torch.
#include "sslfast/negative_cosine_similarity.h"

#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

template <typename T>
std::tuple<Tensor, Tensor, Tensor> run(const Tensor& x0, const Tensor& x1, double eps, bool need_x0, bool need_x1) {
  const int64_t n = x0.size(0), d = x0.size(1);
  const ScalarType dtype = x0.scalar_type();
  Tensor loss = empty({}, dtype, x0), cosines = empty({n}, dtype, x0);
  Tensor grad0 = empty({need_x0 ? n : 0, d}, dtype, x0), grad1 = empty({need_x1 ? n : 0, d}, dtype, x0);
  launch(cpu::negative_cosine_similarity<T>,
         NegativeCosine<T>{x0.const_data_ptr<T>(), x1.const_data_ptr<T>(), n, d, x0.stride(0), x1.stride(0),
                           static_cast<T>(eps), cosines.mutable_data_ptr<T>(), loss.mutable_data_ptr<T>(),
                           data_if<T>(need_x0, grad0), data_if<T>(need_x1, grad1)},
         x0);
  return {loss, grad0, grad1};
}

std::tuple<Tensor, Tensor, Tensor> negative_cosine_similarity(const Tensor& x0, const Tensor& x1, double eps,
                                                              bool need_x0, bool need_x1) {
  for (const Tensor* x : {&x0, &x1}) {
    check(x->is_cpu() && x->dim() == 2 && x->size(0) > 0 && (x->stride(1) == 1 || x->size(1) <= 1),
          "negative_cosine_similarity: x0 and x1 must be (N, D), N >= 1, rows contiguous");
  }
  check(x0.size(0) == x1.size(0) && x0.size(1) == x1.size(1) && x0.scalar_type() == x1.scalar_type(),
        "negative_cosine_similarity: x0 and x1 must have one shape and dtype");
  if (x0.scalar_type() == ScalarType::Double) return run<double>(x0, x1, eps, need_x0, need_x1);
  check(x0.scalar_type() == ScalarType::Float, "negative_cosine_similarity: expected float32 or float64");
  return run<float>(x0, x1, eps, need_x0, need_x1);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("negative_cosine_similarity", TORCH_BOX(&negative_cosine_similarity));
}

}  // namespace sslfast::ops
