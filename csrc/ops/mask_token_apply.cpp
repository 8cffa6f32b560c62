#include "sslfast/mask_token_apply.h"

#include <tuple>

#include "dtype.h"
#include "sslfast/scratch_rows.h"

namespace sslfast::ops {

static void check_mask(const Tensor& data, const Tensor& mask) {
  check(data.dim() == 3 && here(data), "mask_token_apply: data must be (rows, length, width)");
  check(mask.scalar_type() == ScalarType::Bool && mask.dim() == 2 && here(mask) && mask.size(0) == data.size(0) &&
            mask.size(1) == data.size(1),
        "mask_token_apply: mask must be bool (rows, length)");
}

static Tensor mask_token_apply(const Tensor& x, const Tensor& mask, const Tensor& mask_token) {
  check_mask(x, mask);
  check(x.element_size() <= 8, "mask_token_apply: elements of at most 8 bytes");
  check(mask_token.dim() == 1 && mask_token.size(0) == x.size(2) && mask_token.scalar_type() == x.scalar_type() &&
            mask_token.is_contiguous() && here(mask_token),
        "mask_token_apply: mask_token must be contiguous (width) in the dtype of x");
  MaskTokenApply p{};
  p.rows = x.size(0);
  p.length = x.size(1);
  p.width = x.size(2);
  p.element_size = static_cast<int64_t>(x.element_size());
  Tensor out = empty({p.rows, p.length, p.width}, x.scalar_type(), x);
  p.x = x.const_data_ptr();
  p.x_row_stride = x.stride(0);
  p.x_token_stride = x.stride(1);
  p.x_stride = x.stride(2);
  p.mask = mask.const_data_ptr<bool>();
  p.mask_row_stride = mask.stride(0);
  p.mask_stride = mask.stride(1);
  p.mask_token = mask_token.const_data_ptr();
  p.out = out.mutable_data_ptr();
  launch([](const MaskTokenApply& params, auto where) { return backend::mask_token_apply(params, where); }, p, x);
  return out;
}

static std::tuple<Tensor, Tensor> mask_token_apply_backward(const Tensor& grad, const Tensor& mask, bool need_x,
                                                            bool need_mask_token) {
  check_mask(grad, mask);
  MaskTokenApplyBackward p{};
  p.rows = grad.size(0);
  p.length = grad.size(1);
  p.width = grad.size(2);
  check(grad.stride(2) == 1 || p.width <= 1, "mask_token_apply_backward: grad's rows must be contiguous");
  const ScalarType sums = wide(grad.scalar_type());
  Tensor x = empty({need_x ? p.rows : 0, p.length, p.width}, grad.scalar_type(), grad);
  Tensor mask_token = empty({need_mask_token ? p.width : 0}, sums, grad);
#ifdef SSLFAST_WITH_CUDA
  const int64_t chunks = (p.rows * p.length + kMaskTokenRows - 1) / kMaskTokenRows;
  const Tensor scratch = empty({need_mask_token ? scratch_rows(chunks) : 0, p.width}, sums, grad);
  p.scratch = scratch.mutable_data_ptr();
#endif
  p.grad = grad.const_data_ptr();
  p.row_stride = grad.stride(0);
  p.token_stride = grad.stride(1);
  p.mask = mask.const_data_ptr<bool>();
  p.mask_row_stride = mask.stride(0);
  p.mask_stride = mask.stride(1);
  p.dtype = read_dtype(grad.scalar_type());
  p.x = data_if(need_x, x);
  p.mask_token = data_if(need_mask_token, mask_token);
  launch([](const MaskTokenApplyBackward& params,
            auto where) { return backend::mask_token_apply_backward(params, where); },
         p, grad);
  return {x, mask_token};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("mask_token_apply", TORCH_BOX(&mask_token_apply));
  m.impl("mask_token_apply_backward", TORCH_BOX(&mask_token_apply_backward));
}

}  // namespace sslfast::ops
