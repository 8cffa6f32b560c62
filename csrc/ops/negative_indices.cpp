#include "sslfast/negative_indices.h"

#include <optional>

#include "tensor.h"

namespace sslfast::ops {

template <typename Index>
static Tensor run(const Tensor& mask, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t negatives,
                  ScalarType dtype, int64_t row_offset) {
  NegativeIndices<Index> p{};
  p.rows = mask.size(0);
  p.length = mask.size(1);
  Tensor out = empty({p.rows, p.length, negatives}, dtype, mask);
  Tensor frames = empty({p.rows, p.length}, ScalarType::Int, mask);
  Tensor counts = empty({p.rows}, ScalarType::Long, mask);
  p.mask = mask.const_data_ptr<bool>();
  p.row_stride = mask.stride(0);
  p.stride = mask.stride(1);
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.negatives = negatives;
  p.frames = frames.mutable_data_ptr<int32_t>();
  p.counts = counts.mutable_data_ptr<int64_t>();
  p.out = out.mutable_data_ptr<Index>();
  launch([](const auto& params, auto where) { return backend::negative_indices(params, where); }, p, mask);
  return out;
}

static Tensor negative_indices(const Tensor& mask, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                               int64_t negatives, ScalarType dtype, int64_t row_offset) {
  check(mask.dim() == 2 && here(mask) && mask.scalar_type() == ScalarType::Bool,
        "negative_indices: mask must be bool (rows, length)");
  check(mask.size(1) >= 1 && negatives >= 1 && mask.size(1) < int64_t{1} << 31 && negatives < int64_t{1} << 31 &&
            mask.size(1) * ((negatives + 3) / 4) <= int64_t{1} << 32,
        "negative_indices: rows of 1 to 2^31 - 1 frames and at most 2^34 negatives");
  check(dtype == ScalarType::Long || (dtype == ScalarType::Int && mask.size(0) * mask.size(1) <= int64_t{1} << 31),
        "negative_indices: int32 holds fewer frames");
  return (dtype == ScalarType::Int ? run<int32_t> : run<int64_t>)(mask, seed, sample_ids, negatives, dtype, row_offset);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("negative_indices", TORCH_BOX(&negative_indices)); }

}  // namespace sslfast::ops
