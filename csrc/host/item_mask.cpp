#include "sslfast/item_mask.h"

#include "arrays.h"

namespace sslfast::host {

template <typename Id>
static py::tuple item_mask(py::array_t<Id> items, uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                           int64_t mask_id, int64_t padding_id, double mask_ratio, bool exact,
                           double last_item_probability, bool at_least_one, int64_t most_labels, bool label_first,
                           int64_t row_offset, int threads) {
  ItemMask<Id> p{};
  p.rows = items.shape(0);
  p.length = items.shape(1);
  Array<Id> masked_items({p.rows, p.length}), labels({p.rows, p.length});
  Array<bool> mask({p.rows, p.length});
  constexpr int64_t size = sizeof(Id);
  p.items = items.data();
  p.row_stride = items.strides(0) / size;
  p.stride = items.strides(1) / size;
  p.padding_id = static_cast<Id>(padding_id);
  p.mask_id = static_cast<Id>(mask_id);
  p.ignore_index = -100;
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.exact = exact;
  p.mask_ratio = mask_ratio;
  p.select_threshold = probability_threshold(mask_ratio);
  p.last_threshold = probability_threshold(last_item_probability);
  p.at_least_one = at_least_one;
  p.most_labels = most_labels;
  p.label_first = label_first;
  p.masked_items = masked_items.mutable_data();
  p.labels = labels.mutable_data();
  p.mask = mask.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::item_mask(p, threads);
  }
  return py::make_tuple(masked_items, labels, mask);
}

void bind_item_mask(py::module_& m) {
  m.def("item_mask_int32", &item_mask<int32_t>);
  m.def("item_mask_int64", &item_mask<int64_t>);
}

}  // namespace sslfast::host
