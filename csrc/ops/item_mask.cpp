#include "sslfast/item_mask.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

using Masked = std::tuple<Tensor, Tensor, Tensor>;

template <typename Id>
static Masked run(const Tensor& items, const Tensor& seed, const std::optional<Tensor>& sample_ids, int64_t mask_id,
                  int64_t padding_id, double mask_ratio, bool exact, double last_item_probability, bool at_least_one,
                  int64_t most_labels, bool label_first, int64_t row_offset) {
  ItemMask<Id> p{};
  p.rows = items.size(0);
  p.length = items.size(1);
  Tensor masked_items = empty({p.rows, p.length}, items.scalar_type(), items);
  Tensor labels = empty({p.rows, p.length}, items.scalar_type(), items);
  Tensor mask = empty({p.rows, p.length}, ScalarType::Bool, items);
  p.items = items.const_data_ptr<Id>();
  p.row_stride = items.stride(0);
  p.stride = items.stride(1);
  p.padding_id = static_cast<Id>(padding_id);
  p.mask_id = static_cast<Id>(mask_id);
  p.ignore_index = -100;
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.exact = exact;
  p.mask_ratio = mask_ratio;
  p.select_threshold = probability_threshold(mask_ratio);
  p.last_threshold = probability_threshold(last_item_probability);
  p.at_least_one = at_least_one;
  p.most_labels = most_labels;
  p.label_first = label_first;
  p.masked_items = masked_items.mutable_data_ptr<Id>();
  p.labels = labels.mutable_data_ptr<Id>();
  p.mask = mask.mutable_data_ptr<bool>();
  launch([](const auto& params, auto where) { return backend::item_mask(params, where); }, p, items);
  return {masked_items, labels, mask};
}

static Masked item_mask(const Tensor& items, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                        int64_t mask_id, int64_t padding_id, double mask_ratio, bool exact,
                        double last_item_probability, bool at_least_one, int64_t most_labels, bool label_first,
                        int64_t row_offset) {
  check(items.dim() == 2 && here(items), "item_mask: items must be (rows, length)");
  check(items.size(1) < int64_t{1} << 32, "item_mask: rows of at most 2^32 - 1 items");
  const auto dtype = items.scalar_type();
  check(dtype == ScalarType::Int || dtype == ScalarType::Long, "item_mask: items must be int32 or int64");
  return (dtype == ScalarType::Int ? run<int32_t> : run<int64_t>)(items, seed, sample_ids, mask_id, padding_id,
                                                                  mask_ratio, exact, last_item_probability,
                                                                  at_least_one, most_labels, label_first, row_offset);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("item_mask", TORCH_BOX(&item_mask)); }

}  // namespace sslfast::ops
