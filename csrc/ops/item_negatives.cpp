#include "sslfast/item_negatives.h"

#include <optional>

#include "tensor.h"

namespace sslfast::ops {

static Tensor item_negatives(const Tensor& numbers, const Tensor& seed, const std::optional<Tensor>& thresholds,
                             int64_t items, int64_t negatives) {
  check(here(numbers) && numbers.scalar_type() == ScalarType::Long && numbers.dim() == 1 && numbers.is_contiguous(),
        "item_negatives: numbers must be contiguous int64, one a row");
  check(items >= 1 && items < INT32_MAX && negatives >= 1 && negatives < INT32_MAX,
        "item_negatives: 1 to 2^31 - 2 items and negatives");
  ItemNegatives p{};
  if (thresholds) {
    check(here(*thresholds) && thresholds->scalar_type() == ScalarType::Long && thresholds->is_contiguous() &&
              thresholds->numel() == items,
          "item_negatives: thresholds must be contiguous int64, one an item");
    p.thresholds = thresholds->const_data_ptr<int64_t>();
  }
  p.numbers = numbers.const_data_ptr<int64_t>();
  p.rows = numbers.size(0);
  p.items = items;
  p.negatives = negatives;
  p.seed = read_seed(seed);
  Tensor out = empty({p.rows, negatives}, ScalarType::Int, numbers);
  p.out = out.mutable_data_ptr<int32_t>();
  launch([](const ItemNegatives& params, auto where) { return backend::item_negatives(params, where); }, p, numbers);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("item_negatives", TORCH_BOX(&item_negatives)); }

}  // namespace sslfast::ops
