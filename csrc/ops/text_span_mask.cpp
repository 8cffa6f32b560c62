#include "sslfast/text_span_mask.h"

#include <tuple>
#include <vector>

#include "masked_tokens.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor>;

template <typename Id>
static Masked run(const Tensor& ids, const std::optional<Tensor>& special, const std::optional<Tensor>& word_ids,
                  const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t mask_token_id,
                  int64_t vocab_size, double mask_ratio, const SpanLengths& lengths, bool per_span,
                  double mask_replace_prob, double random_replace_prob, int64_t row_offset,
                  const std::optional<Tensor>& random_ids, bool check_ids) {
  TextSpanMask<Id> p{};
  p.rows = ids.size(0);
  p.length = ids.size(1);
  Tensor masked_ids = empty({p.rows, p.length}, ids.scalar_type(), ids);
  Tensor labels = empty({p.rows, p.length}, ids.scalar_type(), ids);
  Tensor mask = empty({p.rows, p.length}, ScalarType::Bool, ids);
  p.ids = ids.const_data_ptr<Id>();
  p.ids_row_stride = ids.stride(0);
  p.ids_stride = ids.stride(1);
  if (special) {
    p.special = special->const_data_ptr<bool>();
    p.special_row_stride = special->stride(0);
    p.special_stride = special->stride(1);
  }
  if (word_ids) {
    p.word_ids = word_ids->const_data_ptr<int64_t>();
    p.word_row_stride = word_ids->stride(0);
    p.word_stride = word_ids->stride(1);
  }
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.mask_ratio = mask_ratio;
  p.lengths = lengths;
  p.per_span = per_span;
  p.replacement = token_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.last_id = check_ids ? static_cast<Id>(vocab_size - 1) : Id{-1};
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data_ptr<Id>();
  p.labels = labels.mutable_data_ptr<Id>();
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const auto& params, auto where) { return backend::text_span_mask(params, where); }, p, ids);
  return {masked_ids, labels, mask};
}

static Masked text_span_mask(const Tensor& ids, const std::optional<Tensor>& special,
                             const std::optional<Tensor>& word_ids, const Tensor& seed,
                             const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                             double mask_ratio, int64_t min_span, std::vector<int64_t> thresholds, bool per_span,
                             double mask_replace_prob, double random_replace_prob, int64_t row_offset,
                             const std::optional<Tensor>& random_ids, bool check_ids) {
  check(ids.dim() == 2 && here(ids), "text_span_mask: ids must be (rows, length)");
  const auto like_ids = [&](const std::optional<Tensor>& t, ScalarType dtype) {
    return !t || (t->scalar_type() == dtype && t->dim() == 2 && here(*t) && t->size(0) == ids.size(0) &&
                  t->size(1) == ids.size(1));
  };
  check(like_ids(special, ScalarType::Bool), "text_span_mask: special must be bool, like ids");
  check(like_ids(word_ids, ScalarType::Long), "text_span_mask: word_ids must be int64, like ids");
  check_random_ids(random_ids);
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, "text_span_mask: vocab_size out of range");
  check(mask_ratio >= 0 && mask_ratio <= 1, "text_span_mask: mask_ratio out of range");
  check(ids.size(1) < int64_t{1} << 28, "text_span_mask: rows of less than 2^28 tokens");
  check(!thresholds.empty() && thresholds.size() <= kMostSpanLengths && min_span >= 1,
        "text_span_mask: from 1 to 64 span lengths of at least 1");
  SpanLengths lengths{min_span, static_cast<int32_t>(thresholds.size()), {}};
  for (size_t i = 0; i < thresholds.size(); ++i) lengths.thresholds[i] = static_cast<uint64_t>(thresholds[i]);
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Int || dtype == ScalarType::Long, "text_span_mask: ids must be int32 or int64");
  return (dtype == ScalarType::Int ? run<int32_t> : run<int64_t>)(ids, special, word_ids, seed, sample_ids,
                                                                  mask_token_id, vocab_size, mask_ratio, lengths,
                                                                  per_span, mask_replace_prob, random_replace_prob,
                                                                  row_offset, random_ids, check_ids);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("text_span_mask", TORCH_BOX(&text_span_mask)); }

}  // namespace sslfast::ops
