#include "sslfast/patch_unshuffle.h"

#include <tuple>

#include "dtype.h"
#include "sslfast/scratch_rows.h"

namespace sslfast::ops {

static void check_types(ScalarType type, ScalarType out) {
  check(out == type || (out == ScalarType::Float && (type == ScalarType::BFloat16 || type == ScalarType::Half)),
        "patch_unshuffle: dtype must be that of tokens, or float32 for tokens in half types");
}

static void check_ids(const Tensor& ids_restore, const Tensor& data) {
  check(data.dim() == 3 && here(data) && (data.stride(2) == 1 || data.size(2) <= 1),
        "patch_unshuffle: data must be (rows, tokens, width), its rows contiguous");
  check(ids_restore.scalar_type() == ScalarType::Long && ids_restore.dim() == 2 && here(ids_restore) &&
            ids_restore.is_contiguous() && ids_restore.size(0) == data.size(0),
        "patch_unshuffle: ids_restore must be contiguous int64 of shape (rows, patches)");
}

static const void* read_rows_of(const Tensor& t, ScalarType type, int64_t numel) {
  check(here(t) && t.scalar_type() == type && t.is_contiguous() && t.numel() == numel,
        "patch_unshuffle: mask_token and positions must be contiguous and of the dtype of the result");
  return t.const_data_ptr();
}

static Tensor patch_unshuffle(const Tensor& tokens, const Tensor& mask_token, const std::optional<Tensor>& positions,
                              const Tensor& ids_restore, int64_t prefix, ScalarType dtype) {
  check_ids(ids_restore, tokens);
  check_types(tokens.scalar_type(), dtype);
  PatchUnshuffle p{};
  p.rows = tokens.size(0);
  p.patches = ids_restore.size(1);
  p.prefix = prefix;
  p.keep = tokens.size(1) - prefix;
  p.width = tokens.size(2);
  check(prefix >= 0 && p.keep >= 0 && p.keep <= p.patches, "patch_unshuffle: expected prefix + 0 to patches tokens");
#ifndef SSLFAST_WITH_CUDA  // a GPU does not wait for what it has read
  const auto found = cpu::first_misplaced(ids_restore.const_data_ptr<int64_t>(), p.rows, p.patches);
  if (found.row >= 0) {
    throw std::invalid_argument("unshuffle_patches: ids_restore must hold 0 to " + std::to_string(p.patches - 1) +
                                " in every row, each once, got " + std::to_string(found.place) +
                                (found.repeated ? " twice" : "") + " in row " + std::to_string(found.row));
  }
#endif
  p.mask_token = read_rows_of(mask_token, dtype, p.width);
  if (positions) p.positions = read_rows_of(*positions, dtype, (prefix + p.patches) * p.width);
  Tensor out = empty({p.rows, prefix + p.patches, p.width}, dtype, tokens);
  p.tokens = tokens.const_data_ptr();
  p.row_stride = tokens.stride(0);
  p.token_stride = tokens.stride(1);
  p.ids_restore = ids_restore.const_data_ptr<int64_t>();
  p.dtype = read_dtype(tokens.scalar_type());
  p.out_dtype = read_dtype(dtype);
  p.out = out.mutable_data_ptr();
  launch([](const PatchUnshuffle& params, auto where) { return backend::patch_unshuffle(params, where); }, p, tokens);
  return out;
}

static std::tuple<Tensor, Tensor, Tensor> patch_unshuffle_backward(const Tensor& grad, const Tensor& ids_restore,
                                                                   int64_t keep, int64_t prefix, ScalarType dtype,
                                                                   bool need_tokens, bool need_mask_token,
                                                                   bool need_positions) {
  check_ids(ids_restore, grad);
  check_types(dtype, grad.scalar_type());
  PatchUnshuffleBackward p{};
  p.rows = grad.size(0);
  p.patches = ids_restore.size(1);
  p.prefix = prefix;
  p.keep = keep;
  p.width = grad.size(2);
  const int64_t length = prefix + p.patches;
  check(prefix >= 0 && keep >= 0 && keep <= p.patches && grad.size(1) == length,
        "patch_unshuffle_backward: grad must be (rows, prefix + patches, width)");
  const ScalarType sums = wide(grad.scalar_type());
  Tensor tokens = empty({need_tokens ? p.rows : 0, prefix + keep, p.width}, dtype, grad);
  Tensor mask_token = empty({need_mask_token ? p.width : 0}, sums, grad);
  Tensor positions = empty({need_positions ? length : 0, p.width}, sums, grad);
#ifdef SSLFAST_WITH_CUDA
  const int64_t chunks = (p.rows + kUnshuffleRows - 1) / kUnshuffleRows;
  const Tensor mask_scratch = empty({need_mask_token ? scratch_rows(chunks * length) : 0, p.width}, sums, grad);
  const Tensor position_scratch = empty({need_positions ? scratch_rows(chunks) : 0, length, p.width}, sums, grad);
  p.mask_scratch = mask_scratch.mutable_data_ptr();
  p.position_scratch = position_scratch.mutable_data_ptr();
#endif
  p.grad = grad.const_data_ptr();
  p.row_stride = grad.stride(0);
  p.token_stride = grad.stride(1);
  p.ids_restore = ids_restore.const_data_ptr<int64_t>();
  p.dtype = read_dtype(dtype);
  p.out_dtype = read_dtype(grad.scalar_type());
  p.tokens = data_if(need_tokens, tokens);
  p.mask_token = data_if(need_mask_token, mask_token);
  p.positions = data_if(need_positions, positions);
  launch(
      [](const PatchUnshuffleBackward& params, auto where) { return backend::patch_unshuffle_backward(params, where); },
      p, grad);
  return {tokens, mask_token, positions};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("patch_unshuffle", TORCH_BOX(&patch_unshuffle));
  m.impl("patch_unshuffle_backward", TORCH_BOX(&patch_unshuffle_backward));
}

}  // namespace sslfast::ops
