// Softmax of the teachers' rows against the log-softmax of the students' in one pass; probabilities stay in the caches.
// Bytes: every logit read once, the students' gradients written once. The GPU implementation is
// kernels/soft_cross_entropy.py.
#include "sslfast/soft_cross_entropy.h"

#include <tuple>
#include <vector>

#include "dtype.h"

namespace sslfast::ops {
namespace {

using Tensors = std::vector<Tensor>;

std::vector<PrototypeRows> read_views(const Tensors& views, const Tensor& like) {
  std::vector<PrototypeRows> rows;
  for (const Tensor& view : views) {
    check(view.is_cpu() && view.dim() == 2 && view.size(0) == like.size(0) && view.size(1) == like.size(1) &&
              (view.stride(1) == 1 || view.size(1) <= 1) && view.scalar_type() == views[0].scalar_type(),
          "soft_cross_entropy: views must be (N, K) of one shape, students' of one dtype and teachers' too, rows "
          "contiguous");
    rows.push_back({view.const_data_ptr(), view.stride(0)});
  }
  return rows;
}

std::tuple<Tensor, Tensor, Tensor> soft_cross_entropy(Tensors students, Tensors teachers,
                                                      const std::optional<Tensor>& centers,
                                                      const std::optional<Tensor>& weights, double student_scale,
                                                      double teacher_scale, double grad_factor, bool skip_same_view,
                                                      bool need_grad, bool need_sum) {
  check(!students.empty() && !teachers.empty(), "soft_cross_entropy: there must be a student and a teacher");
  const Tensor& first = students[0];
  const std::vector<PrototypeRows> student_rows = read_views(students, first),
                                   teacher_rows = read_views(teachers, first);
  const ScalarType dtype = first.scalar_type(), sums = wide(dtype);
  check(wide(teachers[0].scalar_type()) == sums, "soft_cross_entropy: float64 students go with float64 teachers");
  check(!skip_same_view || students.size() + teachers.size() > 2,
        "soft_cross_entropy: the only student view must have a target");
  SoftCrossEntropy p{};
  p.students = student_rows.data();
  p.teachers = teacher_rows.data();
  p.student_dtype = read_dtype(dtype);
  p.teacher_dtype = read_dtype(teachers[0].scalar_type());
  p.student_views = static_cast<int64_t>(students.size());
  p.teacher_views = static_cast<int64_t>(teachers.size());
  p.samples = first.size(0);
  p.prototypes = first.size(1);
  if (centers) {
    check(centers->is_cpu() && centers->dim() == 2 && centers->is_contiguous() && centers->scalar_type() == sums &&
              centers->size(1) == p.prototypes && (centers->size(0) == 1 || centers->size(0) == p.teacher_views),
          "soft_cross_entropy: centers must be (1 or teacher views, K), contiguous, float64 for float64 views, else "
          "float32");
    p.centers = centers->const_data_ptr();
    p.center_stride = centers->size(0) == 1 ? 0 : p.prototypes;
  }
  if (weights) {
    check(weights->is_cpu() && weights->dim() == 1 && weights->is_contiguous() && weights->scalar_type() == sums &&
              weights->size(0) == p.samples,
          "soft_cross_entropy: weights must be (N,), contiguous, float64 for float64 views, else float32");
    p.weights = weights->const_data_ptr();
  }
  p.student_scale = student_scale;
  p.teacher_scale = teacher_scale;
  p.grad_factor = grad_factor;
  p.skip_same_view = skip_same_view;
  const int64_t chunks = (p.samples + kSoftChunk - 1) / kSoftChunk;
  Tensor losses = empty({p.student_views, p.samples}, sums, first);
  Tensor grads = empty({need_grad ? p.student_views : 0, p.samples, p.prototypes}, dtype, first);
  Tensor partial = empty({need_sum ? chunks : 0, p.prototypes}, sums, first);
  Tensor total = empty({need_sum ? p.prototypes : 0}, sums, first);
  p.losses = losses.mutable_data_ptr();
  p.grads = data_if(need_grad, grads);
  p.partial = data_if(need_sum, partial);
  p.teacher_sum = data_if(need_sum, total);
  launch([](const SoftCrossEntropy& params, int threads) { cpu::soft_cross_entropy(params, threads); }, p, first);
  return {losses, grads, total};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("soft_cross_entropy", TORCH_BOX(&soft_cross_entropy)); }

}  // namespace sslfast::ops
