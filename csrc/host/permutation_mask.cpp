#include "sslfast/permutation_mask.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

template <typename Id, typename Out>
static py::tuple run(const py::array_t<Id>& ids, const std::optional<py::array_t<bool>>& special, uint64_t seed,
                     const std::optional<Array<int64_t>>& sample_ids, int64_t mask_token_id,
                     const std::vector<int64_t>& contexts, bool compat, int64_t row_offset, int threads) {
  PermutationMask<Id, Out> p{};
  p.rows = ids.shape(0);
  p.length = ids.shape(1);
  Array<Id> masked_ids({p.rows, p.length}), labels({p.rows, p.length});
  Array<bool> mask({p.rows, p.length});
  Array<int64_t> order({p.rows, p.length});
  Array<Out> perm_mask({p.rows, p.length, p.length});
  constexpr int64_t size = sizeof(Id);
  p.ids = ids.data();
  p.ids_row_stride = ids.strides(0) / size;
  p.ids_stride = ids.strides(1) / size;
  if (special) {
    p.special = special->data();
    p.special_row_stride = special->strides(0);
    p.special_stride = special->strides(1);
  }
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.compat = compat;
  p.spans = static_cast<int64_t>(contexts.size());
  for (size_t i = 0; i < contexts.size(); ++i) p.contexts[i] = contexts[i];
  p.mask_token_id = static_cast<Id>(mask_token_id);
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data();
  p.labels = labels.mutable_data();
  p.mask = mask.mutable_data();
  p.order = order.mutable_data();
  p.perm_mask = perm_mask.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::permutation_mask(p, threads);
  }
  return py::make_tuple(masked_ids, labels, perm_mask, mask, order);
}

template <typename Id>
static py::tuple permutation_mask(py::array_t<Id> ids, std::optional<py::array_t<bool>> special, uint64_t seed,
                                  std::optional<Array<int64_t>> sample_ids, int64_t mask_token_id,
                                  const std::vector<int64_t>& contexts, bool as_bool, bool compat, int64_t row_offset,
                                  int threads) {
  return (as_bool ? run<Id, bool> : run<Id, float>)(ids, special, seed, sample_ids, mask_token_id, contexts, compat,
                                                    row_offset, threads);
}

void bind_permutation_mask(py::module_& m) {
  m.def("permutation_mask_int32", &permutation_mask<int32_t>);
  m.def("permutation_mask_int64", &permutation_mask<int64_t>);
}

}  // namespace sslfast::host
