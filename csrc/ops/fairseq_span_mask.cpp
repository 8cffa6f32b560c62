#include "sslfast/fairseq_span_mask.h"

#include <optional>
#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

static std::tuple<Tensor, Tensor> fairseq_span_mask(const Tensor& like, const Tensor& seed,
                                                    const std::optional<Tensor>& sample_ids,
                                                    const std::optional<Tensor>& lengths, int64_t rows, int64_t length,
                                                    double mask_prob, int64_t mask_length, int64_t min_masks,
                                                    int64_t span_length, double mask_other, bool apart,
                                                    int64_t min_space, bool every_start, bool one_rounding,
                                                    int64_t same_count, double mask_dropout, int64_t row_offset) {
  constexpr int64_t kWords = int64_t{1} << 32;
  check(here(like), "fairseq_span_mask: like is on another device");
  check(rows >= 0 && length >= 1 && length < kWords, "fairseq_span_mask: rows of 1 to 2^32 - 1 frames");
  check(mask_length >= 1 && min_masks >= 0, "fairseq_span_mask: spans of at least one frame");
  check(mask_prob >= 0 && mask_prob <= 1 && mask_dropout >= 0 && mask_dropout <= 1,
        "fairseq_span_mask: probabilities in [0, 1]");
  check(span_length >= 0 && span_length <= 3 && same_count >= 0 && same_count <= 2, "fairseq_span_mask: no such rule");
  check(span_length == 0 || mask_length < kWords / 2, "fairseq_span_mask: random lengths of mean below 2^31");
  check(mask_other >= 0 && (span_length != 1 || mask_other <= 2.0 * static_cast<double>(mask_length)),
        "fairseq_span_mask: mask_other is out of range");
  check(min_space >= 0 && min_space < kWords, "fairseq_span_mask: min_space is out of range");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && lengths->size(0) == rows &&
                     lengths->is_contiguous() && here(*lengths)),
        "fairseq_span_mask: lengths must be contiguous int64, one a row");
  Tensor mask = empty({rows, length}, ScalarType::Bool, like);
  Tensor counts = empty({rows}, ScalarType::Long, like);
  FairseqSpanMask p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.rows = rows;
  p.length = length;
  p.lengths = lengths ? lengths->const_data_ptr<int64_t>() : nullptr;
  p.mask_prob = mask_prob;
  p.mask_length = mask_length;
  p.min_masks = min_masks;
  p.span_length = static_cast<SpanLength>(span_length);
  p.mask_other = mask_other;
  p.apart = apart;
  p.min_space = min_space;
  p.every_start = every_start;
  p.one_rounding = one_rounding;
  p.same_count = static_cast<SameCount>(same_count);
  p.mask_dropout = mask_dropout;
  Tensor scratch = empty({rows, scratch_numbers(p)}, ScalarType::Long, like);
  p.scratch = scratch.mutable_data_ptr<int64_t>();
  p.mask = mask.mutable_data_ptr<bool>();
  p.counts = counts.mutable_data_ptr<int64_t>();
  launch([](const FairseqSpanMask& params, auto where) { return backend::fairseq_span_mask(params, where); }, p, like);
  return {mask, counts};
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("fairseq_span_mask", TORCH_BOX(&fairseq_span_mask)); }

}  // namespace sslfast::ops
