#include "sslfast/time_span_mask.h"

#include <optional>

#include "tensor.h"

namespace sslfast::ops {

static Tensor time_span_mask(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                             const std::optional<Tensor>& lengths, int64_t rows, int64_t length, double mask_prob,
                             int64_t mask_length, int64_t min_masks, int64_t rule, int64_t row_offset) {
  check(here(like), "time_span_mask: like is on another device");
  check(rows >= 0 && length >= 1 && length < int64_t{1} << 32, "time_span_mask: rows of 1 to 2^32 - 1 frames");
  check(mask_length >= 1 && min_masks >= 0, "time_span_mask: spans of at least one frame");
  check(mask_prob >= 0 && mask_prob <= 1, "time_span_mask: a probability in [0, 1]");
  check(rule >= 0 && rule <= 1, "time_span_mask: no such rule");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && lengths->size(0) == rows &&
                     lengths->is_contiguous() && here(*lengths)),
        "time_span_mask: lengths must be contiguous int64, one a row");
  Tensor mask = empty({rows, length}, ScalarType::Bool, like);
  TimeSpanMask p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.length = length;
  p.lengths = lengths ? lengths->const_data_ptr<int64_t>() : nullptr;
  p.mask_prob = mask_prob;
  p.mask_length = mask_length;
  p.min_masks = min_masks;
  p.rule = static_cast<SpanRule>(rule);
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const TimeSpanMask& params, auto where) { return backend::time_span_mask(params, where); }, p, like);
  return mask;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("time_span_mask", TORCH_BOX(&time_span_mask)); }

}  // namespace sslfast::ops
