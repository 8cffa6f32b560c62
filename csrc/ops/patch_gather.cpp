#include "sslfast/patch_gather.h"

#include <algorithm>

#include "dtype.h"

namespace sslfast::ops {

static void check_ids(const Tensor& data, const Tensor& ids) {
  check(data.dim() == 3 && here(data), "patch_gather: data must be (rows, patches, width)");
  check(data.element_size() <= 8, "patch_gather: elements of at most 8 bytes");
  check(ids.scalar_type() == ScalarType::Long && ids.dim() == 2 && here(ids) && ids.is_contiguous(),
        "patch_gather: ids must be contiguous int64 of shape (rows, patches)");
}

// A GPU does not wait for what it has read: there such ids give zeros.
static void check_range([[maybe_unused]] const Tensor& ids, [[maybe_unused]] int64_t patches) {
#ifndef SSLFAST_WITH_CUDA
  const auto* begin = ids.const_data_ptr<int64_t>();
  const auto* end = begin + ids.numel();
  if (cpu::patch_ids_in_range(begin, ids.numel(), patches)) return;
  const auto* found = std::find_if(begin, end, [&](int64_t id) { return id < -1 || id >= patches; });
  if (found == end) return;  // another thread has changed them
  throw std::invalid_argument("gather_patches: ids must be in [0, L) with L = " + std::to_string(patches) +
                              ", or -1 for none, got " + std::to_string(*found));
#endif
}

static Tensor patch_gather(const Tensor& x, const Tensor& ids) {
  check_ids(x, ids);
  PatchGather p{};
  p.rows = ids.size(0);
  p.x_rows = x.size(0);
  p.patches = x.size(1);
  p.keep = ids.size(1);
  p.width = x.size(2);
  check(p.x_rows == 0 ? p.rows == 0 : p.rows % p.x_rows == 0, "patch_gather: ids must have whole copies of x's rows");
  check_range(ids, p.patches);
  p.element_size = static_cast<int64_t>(x.element_size());
  Tensor out = empty({p.rows, p.keep, p.width}, x.scalar_type(), x);
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_patch_stride = x.stride(1);
  p.x_stride = x.stride(2);
  p.ids = ids.const_data_ptr<int64_t>();
  p.out = out.mutable_data_ptr();
  launch([](const PatchGather& params, auto where) { return backend::patch_gather(params, where); }, p, x);
  return out;
}

static Tensor patch_scatter(const Tensor& grad, const Tensor& ids_restore) {
  check_ids(grad, ids_restore);
  check(ids_restore.size(0) == grad.size(0), "patch_scatter: ids_restore must have the rows of grad");
  PatchScatter p{};
  p.rows = grad.size(0);
  p.patches = ids_restore.size(1);
  p.keep = grad.size(1);
  p.width = grad.size(2);
  p.element_size = static_cast<int64_t>(grad.element_size());
  Tensor out = empty({p.rows, p.patches, p.width}, grad.scalar_type(), grad);
  p.grad = grad.const_data_ptr();
  p.grad_row_stride = grad.stride(0);
  p.grad_patch_stride = grad.stride(1);
  p.grad_stride = grad.stride(2);
  p.ids_restore = ids_restore.const_data_ptr<int64_t>();
  p.out = out.mutable_data_ptr();
  launch([](const PatchScatter& params, auto where) { return backend::patch_scatter(params, where); }, p, grad);
  return out;
}

static Tensor patch_sum(const Tensor& grad, const Tensor& ids, int64_t x_rows, int64_t patches) {
  check_ids(grad, ids);
  PatchSum p{};
  p.rows = grad.size(0);
  p.x_rows = x_rows;
  p.patches = patches;
  p.keep = grad.size(1);
  p.width = grad.size(2);
  check(ids.size(0) == p.rows && ids.size(1) == p.keep, "patch_sum: ids must have shape (rows, keep) of grad");
  check(x_rows == 0 ? p.rows == 0 : p.rows % x_rows == 0, "patch_sum: ids must have whole copies of x's rows");
  check(grad.stride(2) == 1 || p.width <= 1, "patch_sum: grad's rows must be contiguous");
  check_range(ids, patches);
  p.dtype = read_dtype(grad.scalar_type());
  Tensor out = empty({x_rows, patches, p.width}, grad.scalar_type(), grad);
  p.grad = grad.const_data_ptr();
  p.grad_row_stride = grad.stride(0);
  p.grad_patch_stride = grad.stride(1);
  p.ids = ids.const_data_ptr<int64_t>();
  p.out = out.mutable_data_ptr();
  launch([](const PatchSum& params, auto where) { return backend::patch_sum(params, where); }, p, grad);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("patch_gather", TORCH_BOX(&patch_gather));
  m.impl("patch_scatter", TORCH_BOX(&patch_scatter));
  m.impl("patch_sum", TORCH_BOX(&patch_sum));
}

}  // namespace sslfast::ops
