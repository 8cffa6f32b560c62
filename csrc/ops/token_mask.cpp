#include "sslfast/token_mask.h"

#include <optional>
#include <tuple>

#include "replacement.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor>;

template <typename Id>
static Masked run(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                  const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                  double mlm_probability, double mask_replace_prob, double random_replace_prob, int64_t row_offset,
                  const std::optional<Tensor>& random_ids, int64_t min_masked) {
  const int64_t rows = ids.size(0), length = ids.size(1);
  Tensor masked_ids = empty({rows, length}, ids.scalar_type(), ids);
  Tensor labels = empty({rows, length}, ids.scalar_type(), ids);
  Tensor masked = empty({rows * length}, ScalarType::Long, ids);
  Tensor counts = empty({rows}, ScalarType::Long, ids);
  Tensor forced = empty({min_masked ? rows : 0}, ScalarType::Long, ids);
  TokenMask<Id> p{};
  p.ids = ids.const_data_ptr<Id>();
  p.rows = rows;
  p.length = length;
  p.ids_row_stride = ids.stride(0);
  p.ids_stride = ids.stride(1);
  if (special) {
    p.special = special->const_data_ptr<bool>();
    p.special_row_stride = special->stride(0);
    p.special_stride = special->stride(1);
  }
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.select_threshold = probability_threshold(mlm_probability);
  p.replacement = read_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data_ptr<Id>();
  p.labels = labels.mutable_data_ptr<Id>();
  p.masked = masked.mutable_data_ptr<int64_t>();
  p.counts = counts.mutable_data_ptr<int64_t>();
  p.forced = min_masked ? forced.mutable_data_ptr<int64_t>() : nullptr;
  launch([](const auto& params, auto where) { return backend::token_mask(params, where); }, p, ids);
  return {masked_ids, labels, masked};
}

static Masked token_mask(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                         const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                         double mlm_probability, double mask_replace_prob, double random_replace_prob,
                         int64_t row_offset, const std::optional<Tensor>& random_ids, int64_t min_masked) {
  check(ids.dim() == 2 && here(ids), "token_mask: ids must be (rows, length)");
  check(!special || (special->scalar_type() == ScalarType::Bool && special->dim() == 2 && here(*special) &&
                     special->size(0) == ids.size(0) && special->size(1) == ids.size(1)),
        "token_mask: special must be bool, like ids");
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, "token_mask: vocab_size out of range");
  check(ids.size(1) < int64_t{1} << 32, "token_mask: rows of at most 2^32 - 1 tokens");
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Short || dtype == ScalarType::Int || dtype == ScalarType::Long,
        "token_mask: ids must be int16, int32 or int64");
  const auto of_dtype = dtype == ScalarType::Short ? run<int16_t>
                        : dtype == ScalarType::Int ? run<int32_t>
                                                   : run<int64_t>;
  return of_dtype(ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                  random_replace_prob, row_offset, random_ids, min_masked);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("token_mask", TORCH_BOX(&token_mask)); }

}  // namespace sslfast::ops
