#include "sslfast/token_mask.h"

#include <tuple>

#include "masked_tokens.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <typename Id>
static Masked run(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                  const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                  double mlm_probability, double mask_replace_prob, double random_replace_prob, int64_t row_offset,
                  const std::optional<Tensor>& random_ids, int64_t min_masked, bool check_ids) {
  TokenMask<Id> p{};
  const MaskedTokens out =
      read_tokens(p, ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                  random_replace_prob, row_offset, random_ids, min_masked, check_ids);
  launch([](const auto& params, auto where) { return backend::token_mask(params, where); }, p, ids);
  return {out.ids, out.labels, out.masked, out.counts};
}

static Masked token_mask(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                         const std::optional<Tensor>& sample_ids, int64_t mask_token_id, int64_t vocab_size,
                         double mlm_probability, double mask_replace_prob, double random_replace_prob,
                         int64_t row_offset, const std::optional<Tensor>& random_ids, int64_t min_masked,
                         bool check_ids) {
  check_tokens(ids, special, random_ids, vocab_size);
  const auto dtype = ids.scalar_type();
  const auto of_dtype = dtype == ScalarType::Short ? run<int16_t>
                        : dtype == ScalarType::Int ? run<int32_t>
                                                   : run<int64_t>;
  return of_dtype(ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                  random_replace_prob, row_offset, random_ids, min_masked, check_ids);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("token_mask", TORCH_BOX(&token_mask)); }

}  // namespace sslfast::ops
