#include "sslfast/token_mask.h"

#include "replacement.h"

namespace sslfast::host {

template <typename Id>
static py::tuple token_mask(py::array_t<Id> ids, std::optional<py::array_t<bool>> special, uint64_t seed,
                            std::optional<Array<int64_t>> sample_ids, int64_t mask_token_id, int64_t vocab_size,
                            double mlm_probability, double mask_replace_prob, double random_replace_prob,
                            int64_t row_offset, std::optional<Array<int64_t>> random_ids, int64_t min_masked,
                            int threads) {
  const int64_t rows = ids.shape(0), length = ids.shape(1);
  Array<Id> masked_ids({rows, length}), labels({rows, length});
  Array<int64_t> masked(rows * length), counts(rows);
  constexpr int64_t size = sizeof(Id);
  TokenMask<Id> p{};
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
  p.replacement = read_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data();
  p.labels = labels.mutable_data();
  p.masked = masked.mutable_data();
  p.counts = counts.mutable_data();
  p.forced = min_masked ? p.counts : nullptr;  // asks for it; no scratch on the CPU
  {
    py::gil_scoped_release release;
    cpu::token_mask(p, threads);
  }
  return py::make_tuple(masked_ids, labels, masked);
}

void bind_token_mask(py::module_& m) {
  const auto of_dtype = [&m](auto function) {
    m.def("token_mask", function, py::arg().noconvert(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
          py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg());
  };
  of_dtype(&token_mask<int16_t>);
  of_dtype(&token_mask<int32_t>);
  of_dtype(&token_mask<int64_t>);
}

}  // namespace sslfast::host
