#include "sslfast/permutation_mask.h"

#include <tuple>
#include <vector>

#include "tensor.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Id, typename Out>
static Masked run(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                  const std::optional<Tensor>& sample_ids, int64_t mask_token_id, const std::vector<int64_t>& contexts,
                  bool compat, int64_t row_offset) {
  PermutationMask<Id, Out> p{};
  p.rows = ids.size(0);
  p.length = ids.size(1);
  Tensor masked_ids = empty({p.rows, p.length}, ids.scalar_type(), ids);
  Tensor labels = empty({p.rows, p.length}, ids.scalar_type(), ids);
  Tensor mask = empty({p.rows, p.length}, ScalarType::Bool, ids);
  Tensor order = empty({p.rows, p.length}, ScalarType::Long, ids);
  constexpr bool is_bool = sizeof(Out) == 1;
  Tensor perm_mask = empty({p.rows, p.length, p.length}, is_bool ? ScalarType::Bool : ScalarType::Float, ids);
  p.ids = ids.const_data_ptr<Id>();
  p.ids_row_stride = ids.stride(0);
  p.ids_stride = ids.stride(1);
  if (special) {
    p.special = special->const_data_ptr<bool>();
    p.special_row_stride = special->stride(0);
    p.special_stride = special->stride(1);
  }
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.compat = compat;
  p.spans = static_cast<int64_t>(contexts.size());
  for (size_t i = 0; i < contexts.size(); ++i) p.contexts[i] = contexts[i];
  p.mask_token_id = static_cast<Id>(mask_token_id);
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data_ptr<Id>();
  p.labels = labels.mutable_data_ptr<Id>();
  p.mask = mask.mutable_data_ptr<bool>();
  p.order = order.mutable_data_ptr<int64_t>();
  p.perm_mask = perm_mask.mutable_data_ptr<Out>();
  launch([](const auto& params, auto where) { return backend::permutation_mask(params, where); }, p, ids);
  return {masked_ids, labels, perm_mask, mask, order};
}

static Masked permutation_mask(const Tensor& ids, const std::optional<Tensor>& special, const Tensor& seed,
                               const std::optional<Tensor>& sample_ids, int64_t mask_token_id,
                               std::vector<int64_t> contexts, bool as_bool, bool compat, int64_t row_offset) {
  check(ids.dim() == 2 && here(ids), "permutation_mask: ids must be (rows, length)");
  check(!special || (special->scalar_type() == ScalarType::Bool && special->dim() == 2 && here(*special) &&
                     special->size(0) == ids.size(0) && special->size(1) == ids.size(1)),
        "permutation_mask: special must be bool, like ids");
  check(ids.size(1) < int64_t{1} << 30, "permutation_mask: rows of less than 2^30 tokens");
  check(!compat || ids.size(1) % 2 == 0, "permutation_mask: an even length");
  check(!contexts.empty() && contexts.size() <= kMostPermutationSpans, "permutation_mask: from 1 to 64 spans");
  for (size_t i = 0; i < contexts.size(); ++i) {
    check(contexts[i] > static_cast<int64_t>(i) && contexts[i] < int64_t{1} << 32,
          "permutation_mask: a context holds its span");
  }
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Int || dtype == ScalarType::Long, "permutation_mask: ids must be int32 or int64");
  const auto of_int = as_bool ? run<int32_t, bool> : run<int32_t, float>;
  const auto of_long = as_bool ? run<int64_t, bool> : run<int64_t, float>;
  return (dtype == ScalarType::Int ? of_int : of_long)(ids, special, seed, sample_ids, mask_token_id, contexts, compat,
                                                       row_offset);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("permutation_mask", TORCH_BOX(&permutation_mask)); }

}  // namespace sslfast::ops
