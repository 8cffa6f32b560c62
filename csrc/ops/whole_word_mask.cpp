#include "sslfast/whole_word_mask.h"

#include <tuple>

#include "masked_tokens.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <typename Id>
static Masked run(const Tensor& ids, const Tensor& words, const std::optional<Tensor>& special, const Tensor& seed,
                  const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                  double mlm_probability, double mask_replace_prob, double random_replace_prob, bool replace_words,
                  int64_t row_offset, const std::optional<Tensor>& random_ids, int64_t min_masked,
                  const std::optional<Tensor>& budgets, bool check_ids) {
  WholeWordMask<Id> p{};
  const MaskedTokens out =
      read_tokens<Id>(p, ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                      random_replace_prob, row_offset, random_ids, min_masked, check_ids);
  p.words = words.const_data_ptr<int64_t>();
  p.words_row_stride = words.stride(0);
  p.words_stride = words.stride(1);
  p.offsets = words.dim() == 3;
  p.end_stride = p.offsets ? words.stride(2) : 0;
  p.replace_words = replace_words;
  p.budgets = budgets ? budgets->const_data_ptr<int64_t>() : nullptr;
  launch([](const auto& params, auto where) { return backend::whole_word_mask(params, where); }, p, ids);
  return {out.ids, out.labels, out.masked, out.counts};
}

static Masked whole_word_mask(const Tensor& ids, const Tensor& words, const std::optional<Tensor>& special,
                              const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t mask_token_id,
                              int64_t vocab_size, double mlm_probability, double mask_replace_prob,
                              double random_replace_prob, bool replace_words, int64_t row_offset,
                              const std::optional<Tensor>& random_ids, int64_t min_masked,
                              const std::optional<Tensor>& budgets, bool check_ids) {
  check_tokens(ids, special, random_ids, vocab_size);
  check(words.scalar_type() == ScalarType::Long && here(words) &&
            (words.dim() == 2 || (words.dim() == 3 && words.size(2) == 2)) && words.size(0) == ids.size(0) &&
            words.size(1) == ids.size(1),
        "whole_word_mask: words must be int64, (rows, length) or (rows, length, 2)");
  check(!budgets || (budgets->scalar_type() == ScalarType::Long && budgets->dim() == 1 && budgets->is_contiguous() &&
                     budgets->size(0) == ids.size(0) && here(*budgets) && min_masked == 0),
        "whole_word_mask: budgets must be contiguous int64, one a row, without min_masked");
  const auto dtype = ids.scalar_type();
  const auto of_dtype = dtype == ScalarType::Short ? run<int16_t>
                        : dtype == ScalarType::Int ? run<int32_t>
                                                   : run<int64_t>;
  return of_dtype(ids, words, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                  random_replace_prob, replace_words, row_offset, random_ids, min_masked, budgets, check_ids);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("whole_word_mask", TORCH_BOX(&whole_word_mask)); }

}  // namespace sslfast::ops
