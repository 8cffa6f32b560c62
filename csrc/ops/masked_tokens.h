// What the operators over token ids share: reading their arguments, and their outputs.
#pragma once

#include <optional>

#include "sslfast/token_mask.h"
#include "tensor.h"

namespace sslfast::ops {

struct MaskedTokens {
  Tensor ids, labels, masked, counts, forced;  // the last is scratch
};

inline void check_random_ids(const std::optional<Tensor>& random_ids) {
  check(!random_ids || (random_ids->scalar_type() == ScalarType::Long && random_ids->dim() == 1 &&
                        random_ids->is_contiguous() && random_ids->numel() > 0 && here(*random_ids)),
        "sslfast: random_token_ids must be contiguous int64, at least one, on the device of the data");
}

template <typename Id>
TokenReplacement<Id> token_replacement(int64_t mask_token_id, int64_t vocab_size, double mask_replace_prob,
                                       double random_replace_prob, const std::optional<Tensor>& random_ids) {
  TokenReplacement<Id> replacement{};
  replacement.mask_threshold = probability_threshold(mask_replace_prob);
  replacement.random_threshold = replacement.mask_threshold + probability_threshold(random_replace_prob);
  replacement.mask_token_id = static_cast<Id>(mask_token_id);
  replacement.random_ids = random_ids ? random_ids->const_data_ptr<int64_t>() : nullptr;
  replacement.random_count = static_cast<uint64_t>(random_ids ? random_ids->numel() : vocab_size);
  return replacement;
}

// Back stop for the types and shapes that read_tokens reads.
inline void check_tokens(const Tensor& ids, const std::optional<Tensor>& special,
                         const std::optional<Tensor>& random_ids, int64_t vocab_size) {
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Short || dtype == ScalarType::Int || dtype == ScalarType::Long,
        "sslfast: ids must be int16, int32 or int64");
  check(ids.dim() == 2 && here(ids), "sslfast: ids must be (rows, length)");
  check(ids.size(1) < int64_t{1} << 32, "sslfast: rows of at most 2^32 - 1 tokens");
  check(!special || (special->scalar_type() == ScalarType::Bool && special->dim() == 2 && here(*special) &&
                     special->size(0) == ids.size(0) && special->size(1) == ids.size(1)),
        "sslfast: special must be bool, like ids");
  check(vocab_size >= 1 && vocab_size <= int64_t{1} << 32, "sslfast: vocab_size out of range");
  check_random_ids(random_ids);
}

template <typename Id>
MaskedTokens read_tokens(TokenMask<Id>& p, const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                         const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                         double mlm_probability, double mask_replace_prob, double random_replace_prob,
                         int64_t row_offset, const std::optional<Tensor>& random_ids, int64_t min_masked,
                         bool check_ids) {
  const int64_t rows = ids.size(0), length = ids.size(1);
  MaskedTokens out{empty({rows, length}, ids.scalar_type(), ids), empty({rows, length}, ids.scalar_type(), ids),
                   empty({rows * length}, ScalarType::Long, ids), empty({rows}, ScalarType::Long, ids),
                   empty({min_masked ? rows : 0}, ScalarType::Long, ids)};
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
  p.replacement = token_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.last_id = check_ids ? static_cast<Id>(vocab_size - 1) : Id{-1};
  p.ignore_index = -100;
  p.masked_ids = out.ids.mutable_data_ptr<Id>();
  p.labels = out.labels.mutable_data_ptr<Id>();
  p.masked = out.masked.mutable_data_ptr<int64_t>();
  p.counts = out.counts.mutable_data_ptr<int64_t>();
  p.forced = min_masked ? out.forced.mutable_data_ptr<int64_t>() : nullptr;
  return out;
}

}  // namespace sslfast::ops
