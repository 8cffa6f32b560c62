#include "sslfast/mask_indices.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor> mask_indices(const Tensor& mask) {
  check(mask.dim() == 2 && here(mask) && mask.scalar_type() == ScalarType::Bool,
        "mask_indices: mask must be bool (rows, length)");
  MaskIndices p{};
  p.rows = mask.size(0);
  p.length = mask.size(1);
  Tensor indices = empty({p.rows * p.length}, ScalarType::Long, mask);
  Tensor counts = empty({p.rows}, ScalarType::Long, mask);
  p.mask = mask.const_data_ptr<bool>();
  p.row_stride = mask.stride(0);
  p.stride = mask.stride(1);
  p.indices = indices.mutable_data_ptr<int64_t>();
  p.counts = counts.mutable_data_ptr<int64_t>();
  launch([](const MaskIndices& params, auto where) { return backend::mask_indices(params, where); }, p, mask);
  return {indices, counts};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("mask_indices", TORCH_BOX(&mask_indices)); }

}  // namespace sslfast::ops
