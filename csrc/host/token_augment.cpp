#include "sslfast/token_augment.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

using Flags = std::optional<py::array_t<bool>>;
using Integers = std::optional<Array<int64_t>>;

template <typename Id>
static py::tuple token_augment(py::array_t<Id> ids, Flags present, Integers lengths, Flags special,
                               Integers table_offsets, Integers table_ids, uint64_t seed, Integers sample_ids,
                               const std::vector<int64_t>& special_ids, const std::vector<int64_t>& numbers,
                               const std::vector<double>& rates, int64_t choice, int64_t views, int64_t out_length,
                               int64_t pad_id, int64_t mask_id, bool left, bool positions, int64_t row_offset,
                               int threads) {
  TokenAugment<Id> p{};
  if (!read_token_steps(p, numbers, rates) || !read_special_ids(p, special_ids)) {
    throw py::value_error("token_augment: from 1 to 8 steps, at most 16 special ids");
  }
  p.rows = ids.shape(0);
  p.length = ids.shape(1);
  p.out_length = out_length;
  p.views = views;
  Array<Id> out({views, p.rows, out_length});
  Array<bool> mask({views, p.rows, out_length});
  Array<int64_t> places({views, p.rows, positions ? out_length : 0});
  constexpr int64_t size = sizeof(Id);
  p.ids = ids.data();
  p.row_stride = ids.strides(0) / size;
  p.stride = ids.strides(1) / size;
  if (present) {
    p.present = present->data();
    p.present_row_stride = present->strides(0);
    p.present_stride = present->strides(1);
  }
  if (lengths) p.lengths = lengths->data();
  if (special) {
    p.special = special->data();
    p.special_row_stride = special->strides(0);
    p.special_stride = special->strides(1);
  }
  if (table_offsets) {
    p.table_offsets = table_offsets->data();
    p.table_ids = table_ids->data();
    p.table_rows = table_offsets->size() - 1;
    p.table_entries = table_ids->size();
  }
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.choice = static_cast<TokenChoice>(choice);
  p.pad_id = static_cast<Id>(pad_id);
  p.mask_id = static_cast<Id>(mask_id);
  p.left = left;
  p.out = out.mutable_data();
  p.mask = mask.mutable_data();
  p.positions = positions ? places.mutable_data() : nullptr;
  {
    py::gil_scoped_release release;
    cpu::token_augment(p, threads);
  }
  return py::make_tuple(out, mask, places);
}

void bind_token_augment(py::module_& m) {
  m.def("token_augment_int32", &token_augment<int32_t>);
  m.def("token_augment_int64", &token_augment<int64_t>);
}

}  // namespace sslfast::host
