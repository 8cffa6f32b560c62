#include "sslfast/spec_mean.h"

#include <optional>

#include "dtype.h"

namespace sslfast::ops {

static Tensor spec_mean(const Tensor& spec, const std::optional<Tensor>& lengths, bool whole_batch) {
  check(spec.dim() == 4 && here(spec), "spec_mean: spec must be (rows, channels, bins, frames)");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 &&
                     lengths->size(0) == spec.size(0) && lengths->is_contiguous() && here(*lengths)),
        "spec_mean: lengths must be contiguous int64, one a row");
  SpecMean p{};
  p.spec = spec.const_data_ptr();
  p.dtype = read_dtype(spec.scalar_type());
  p.rows = spec.size(0);
  p.channels = spec.size(1);
  p.bins = spec.size(2);
  p.frames = spec.size(3);
  p.row_stride = spec.stride(0);
  p.channel_stride = spec.stride(1);
  p.bin_stride = spec.stride(2);
  p.frame_stride = spec.stride(3);
  p.lengths = lengths ? lengths->const_data_ptr<int64_t>() : nullptr;
  p.whole_batch = whole_batch;
  Tensor sums = empty({p.rows, p.channels, p.bins + 1}, wide(spec.scalar_type()), spec);
  Tensor means = empty({p.rows * p.channels}, spec.scalar_type(), spec);
  p.sums = sums.mutable_data_ptr();
  p.means = means.mutable_data_ptr();
  launch([](const SpecMean& params, auto where) { return backend::spec_mean(params, where); }, p, spec);
  return means;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("spec_mean", TORCH_BOX(&spec_mean)); }

}  // namespace sslfast::ops
