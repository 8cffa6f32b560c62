// What the bindings over token ids share: reading their arguments, and their outputs.
#pragma once

#include "arrays.h"
#include "sslfast/token_mask.h"

namespace sslfast::host {

template <typename Id>
struct MaskedTokens {
  Array<Id> ids, labels;
  Array<int64_t> masked, counts;
};

template <typename Id>
TokenReplacement<Id> token_replacement(int64_t mask_token_id, int64_t vocab_size, double mask_replace_prob,
                                       double random_replace_prob, const std::optional<Array<int64_t>>& random_ids) {
  TokenReplacement<Id> replacement{};
  replacement.mask_threshold = probability_threshold(mask_replace_prob);
  replacement.random_threshold = replacement.mask_threshold + probability_threshold(random_replace_prob);
  replacement.mask_token_id = static_cast<Id>(mask_token_id);
  replacement.random_ids = random_ids ? random_ids->data() : nullptr;
  replacement.random_count = static_cast<uint64_t>(random_ids ? random_ids->size() : vocab_size);
  return replacement;
}

template <typename Id>
MaskedTokens<Id> read_tokens(TokenMask<Id>& p, const py::array_t<Id>& ids,
                             const std::optional<py::array_t<bool>>& special, uint64_t seed,
                             const std::optional<Array<int64_t>>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                             double mlm_probability, double mask_replace_prob, double random_replace_prob,
                             int64_t row_offset, const std::optional<Array<int64_t>>& random_ids, int64_t min_masked,
                             bool check_ids) {
  const int64_t rows = ids.shape(0), length = ids.shape(1);
  MaskedTokens<Id> out{Array<Id>({rows, length}), Array<Id>({rows, length}), Array<int64_t>(rows * length),
                       Array<int64_t>(rows)};
  constexpr int64_t size = sizeof(Id);
  p.ids = ids.data();
  p.rows = rows;
  p.length = length;
  p.ids_row_stride = ids.strides(0) / size;
  p.ids_stride = ids.strides(1) / size;
  if (special) {
    p.special = special->data();
    p.special_row_stride = special->strides(0);
    p.special_stride = special->strides(1);
  }
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.select_threshold = probability_threshold(mlm_probability);
  p.replacement = token_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.last_id = check_ids ? static_cast<Id>(vocab_size - 1) : Id{-1};
  p.ignore_index = -100;
  p.masked_ids = out.ids.mutable_data();
  p.labels = out.labels.mutable_data();
  p.masked = out.masked.mutable_data();
  p.counts = out.counts.mutable_data();
  p.forced = min_masked ? p.counts : nullptr;  // asks for it; the CPU needs no scratch
  return out;
}

}  // namespace sslfast::host
