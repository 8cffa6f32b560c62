#include "sslfast/patch_mask.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor, Tensor> patch_mask(const Tensor& like, const Tensor& seed,
                                                     const std::optional<Tensor>& sample_ids, int64_t rows,
                                                     int64_t patches, int64_t keep, int64_t row_offset, int64_t prefix,
                                                     bool ascending, const std::optional<Tensor>& noise) {
  check(here(like), "patch_mask: like is on another device");
  check(rows >= 0 && patches >= 1 && keep >= 0 && keep <= patches && prefix >= 0,
        "patch_mask: expected 0 <= keep <= patches and 1 <= patches");
  check(patches < int64_t{1} << 32, "patch_mask: rows of at most 2^32 - 1 patches");
  Tensor ids_keep = empty({rows, prefix + keep}, ScalarType::Long, like);
  Tensor ids_restore = empty({rows, prefix + patches}, ScalarType::Long, like);
  Tensor mask = empty({rows, prefix + patches}, ScalarType::Bool, like);
  PatchMask p{};
  p.seed = read_seed(seed);
  p.rows = rows;
  p.patches = patches;
  p.keep = keep;
  p.prefix = prefix;
  p.ascending = ascending;
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  if (noise) {
    const ScalarType type = noise->scalar_type();
    check((type == ScalarType::Float || type == ScalarType::Double) && here(*noise) && noise->dim() == 2 &&
              noise->size(0) == rows && noise->size(1) == patches,
          "patch_mask: noise must be float32 or float64 of shape (rows, patches)");
    p.noise = noise->const_data_ptr();
    p.noise_is_double = type == ScalarType::Double;
    p.noise_row_stride = noise->stride(0);
    p.noise_stride = noise->stride(1);
  }
  p.ids_keep = ids_keep.mutable_data_ptr<int64_t>();
  p.ids_restore = ids_restore.mutable_data_ptr<int64_t>();
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const PatchMask& params, auto where) { return backend::patch_mask(params, where); }, p, like);
  return {ids_keep, ids_restore, mask};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("patch_mask", TORCH_BOX(&patch_mask)); }

}  // namespace sslfast::ops
