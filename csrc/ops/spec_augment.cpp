#include "sslfast/spec_augment.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstring>
#include <optional>
#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

template <typename Element>
static uint64_t bits(double value) {
  const Element element = static_cast<Element>(static_cast<float>(value));
  uint64_t out = 0;
  std::memcpy(&out, &element, sizeof element);
  return out;
}

static uint64_t bits_of(double value, ScalarType dtype) {
  if (dtype == ScalarType::Half) return bits<torch::headeronly::Half>(value);
  if (dtype == ScalarType::BFloat16) return bits<torch::headeronly::BFloat16>(value);
  if (dtype == ScalarType::Float) return bits<float>(value);
  check(dtype == ScalarType::Double, "spec_augment: spec must be float16, bfloat16, float32 or float64");
  uint64_t out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}

static SpecFill fill_of(const Tensor& spec, const Tensor& out, const Tensor& intervals, int64_t bin_masks) {
  SpecFill p{};
  p.rows = spec.size(0);
  p.channels = spec.size(1);
  p.bins = spec.size(2);
  p.frames = spec.size(3);
  p.element_size = static_cast<int64_t>(spec.element_size());
  p.from = spec.const_data_ptr();
  p.from_row_stride = spec.stride(0);
  p.from_channel_stride = spec.stride(1);
  p.from_bin_stride = spec.stride(2);
  p.from_frame_stride = spec.stride(3);
  p.to = out.mutable_data_ptr();
  p.to_row_stride = out.stride(0);
  p.to_channel_stride = out.stride(1);
  p.to_bin_stride = out.stride(2);
  p.to_frame_stride = out.stride(3);
  p.bin_masks = bin_masks;
  p.frame_masks = intervals.size(2) - bin_masks;
  p.intervals = intervals.mutable_data_ptr<int32_t>();
  return p;
}

static Tensor run(const Tensor& spec, const Tensor& out, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                  const std::optional<Tensor>& lengths, const std::optional<Tensor>& values, double mask_value,
                  int64_t bin_masks, int64_t bin_param, int64_t frame_masks, int64_t frame_param, double frame_share,
                  bool shared, int64_t rule, int64_t row_offset) {
  check(spec.dim() == 4 && here(spec), "spec_augment: spec must be (rows, channels, bins, frames)");
  const int64_t rows = spec.size(0), channels = spec.size(1), most = int64_t{1} << 31;
  check(spec.size(2) < most && spec.size(3) < most, "spec_augment: at most 2^31 - 1 bins and frames");
  check(bin_masks >= 0 && bin_masks <= kMostSpecMasks && frame_masks >= 0 && frame_masks <= kMostSpecMasks,
        "spec_augment: at most 32 masks of an axis");
  check(bin_param >= 0 && bin_param < most && frame_param >= 0 && frame_param < most,
        "spec_augment: widths in [0, 2^31)");
  check(frame_share >= 0 && frame_share <= 1 && (rule == 0 || rule == 1), "spec_augment: no such rule");
  check(channels * (bin_masks + frame_masks) < int64_t{1} << 32, "spec_augment: too many channels");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && lengths->size(0) == rows &&
                     lengths->is_contiguous() && here(*lengths)),
        "spec_augment: lengths must be contiguous int64, one a row");
  check(!values || (values->scalar_type() == spec.scalar_type() && values->dim() == 1 && here(*values) &&
                    values->size(0) == rows * channels && values->is_contiguous()),
        "spec_augment: values must be contiguous, like spec, one a row and channel");
  Tensor intervals = empty({rows, channels, bin_masks + frame_masks, 3}, ScalarType::Int, spec);
  SpecAugment p{};
  p.draw.seed = read_seed(seed);
  p.draw.row_ids = read_rows(sample_ids, row_offset, rows);
  p.draw.shared = shared;
  p.draw.lengths = lengths ? lengths->const_data_ptr<int64_t>() : nullptr;
  p.draw.bin_masks = bin_masks;
  p.draw.bin_param = bin_param;
  p.draw.frame_masks = frame_masks;
  p.draw.frame_param = frame_param;
  p.draw.frame_share = frame_share;
  p.draw.rule = static_cast<SpecRule>(rule);
  p.fill = fill_of(spec, out, intervals, bin_masks);
  p.fill.values = values ? values->const_data_ptr() : nullptr;
  p.fill.constant = bits_of(mask_value, spec.scalar_type());
  launch([](const SpecAugment& params, auto where) { return backend::spec_augment(params, where); }, p, spec);
  return intervals;
}

static std::tuple<Tensor, Tensor> spec_augment(const Tensor& spec, const Tensor& seed,
                                               const std::optional<Tensor>& sample_ids,
                                               const std::optional<Tensor>& lengths,
                                               const std::optional<Tensor>& values, double mask_value,
                                               int64_t bin_masks, int64_t bin_param, int64_t frame_masks,
                                               int64_t frame_param, double frame_share, bool shared, int64_t rule,
                                               int64_t row_offset) {
  check(spec.dim() == 4, "spec_augment: spec must be (rows, channels, bins, frames)");
  Tensor out = empty({spec.size(0), spec.size(1), spec.size(2), spec.size(3)}, spec.scalar_type(), spec);
  Tensor intervals = run(spec, out, seed, sample_ids, lengths, values, mask_value, bin_masks, bin_param, frame_masks,
                         frame_param, frame_share, shared, rule, row_offset);
  return {out, intervals};
}

static Tensor spec_augment_(const Tensor& spec, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                            const std::optional<Tensor>& lengths, const std::optional<Tensor>& values,
                            double mask_value, int64_t bin_masks, int64_t bin_param, int64_t frame_masks,
                            int64_t frame_param, double frame_share, bool shared, int64_t rule, int64_t row_offset) {
  return run(spec, spec, seed, sample_ids, lengths, values, mask_value, bin_masks, bin_param, frame_masks, frame_param,
             frame_share, shared, rule, row_offset);
}

// The gradient of spec_augment: zero where the value was written.
static Tensor spec_zero(const Tensor& grad, const Tensor& intervals, int64_t bin_masks) {
  check(grad.dim() == 4 && here(grad) && grad.element_size() <= 8,
        "spec_zero: grad must be (rows, channels, bins, frames)");
  check(intervals.scalar_type() == ScalarType::Int && intervals.dim() == 4 && here(intervals) &&
            intervals.is_contiguous() && intervals.size(0) == grad.size(0) && intervals.size(1) == grad.size(1) &&
            intervals.size(2) >= bin_masks && intervals.size(2) <= 2 * kMostSpecMasks && intervals.size(3) == 3,
        "spec_zero: intervals must be contiguous int32 (rows, channels, masks, 3)");
  Tensor out = empty({grad.size(0), grad.size(1), grad.size(2), grad.size(3)}, grad.scalar_type(), grad);
  const SpecFill p = fill_of(grad, out, intervals, bin_masks);
  launch([](const SpecFill& params, auto where) { return backend::spec_fill(params, where); }, p, grad);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("spec_augment", TORCH_BOX(&spec_augment));
  m.impl("spec_augment_", TORCH_BOX(&spec_augment_));
  m.impl("spec_zero", TORCH_BOX(&spec_zero));
}

}  // namespace sslfast::ops
