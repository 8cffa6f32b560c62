#include "sslfast/patch_mask.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor, Tensor> patch_mask(const Tensor& like, const Tensor& seed,
                                                     const std::optional<Tensor>& sample_ids, int64_t rows,
                                                     int64_t patches, int64_t keep, int64_t row_offset) {
  check(here(like), "patch_mask: like is on another device");
  check(rows >= 0 && patches >= 1 && keep >= 1 && keep <= patches, "patch_mask: expected 1 <= keep <= patches");
  check(patches < int64_t{1} << 32, "patch_mask: rows of at most 2^32 - 1 patches");
  Tensor ids_keep = empty({rows, keep}, ScalarType::Long, like);
  Tensor ids_restore = empty({rows, patches}, ScalarType::Long, like);
  Tensor mask = empty({rows, patches}, ScalarType::Bool, like);
  PatchMask p{};
  p.seed = read_seed(seed);
  p.rows = rows;
  p.patches = patches;
  p.keep = keep;
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.ids_keep = ids_keep.mutable_data_ptr<int64_t>();
  p.ids_restore = ids_restore.mutable_data_ptr<int64_t>();
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const PatchMask& params, auto where) { return backend::patch_mask(params, where); }, p, like);
  return {ids_keep, ids_restore, mask};
}

static void check_ids(const Tensor& data, const Tensor& ids) {
  check(data.dim() == 3 && here(data), "patch_mask: data must be (rows, patches, width)");
  check(data.element_size() <= 8, "patch_mask: elements of at most 8 bytes");
  check(ids.scalar_type() == ScalarType::Long && ids.dim() == 2 && here(ids) && ids.is_contiguous() &&
            ids.size(0) == data.size(0),
        "patch_mask: ids must be contiguous int64 of shape (rows, patches)");
}

static Tensor patch_gather(const Tensor& x, const Tensor& ids_keep) {
  check_ids(x, ids_keep);
  PatchGather p{};
  p.rows = x.size(0);
  p.keep = ids_keep.size(1);
  p.width = x.size(2);
  p.element_size = static_cast<int64_t>(x.element_size());
  Tensor out = empty({p.rows, p.keep, p.width}, x.scalar_type(), x);
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_patch_stride = x.stride(1);
  p.x_stride = x.stride(2);
  p.ids_keep = ids_keep.const_data_ptr<int64_t>();
  p.out = out.mutable_data_ptr();
  launch([](const PatchGather& params, auto where) { return backend::patch_gather(params, where); }, p, x);
  return out;
}

static Tensor patch_scatter(const Tensor& grad, const Tensor& ids_restore) {
  check_ids(grad, ids_restore);
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

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("patch_mask", TORCH_BOX(&patch_mask));
  m.impl("patch_gather", TORCH_BOX(&patch_gather));
  m.impl("patch_scatter", TORCH_BOX(&patch_scatter));
}

}  // namespace sslfast::ops
