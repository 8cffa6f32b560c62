#include "sslfast/text_span_mask.h"

#include <vector>

#include "masked_tokens.h"

namespace sslfast::host {

template <typename Id>
static py::tuple text_span_mask(py::array_t<Id> ids, std::optional<py::array_t<bool>> special,
                                std::optional<py::array_t<int64_t>> word_ids, uint64_t seed,
                                std::optional<Array<int64_t>> sample_ids, int64_t mask_token_id, int64_t vocab_size,
                                double mask_ratio, int64_t min_span, const std::vector<int64_t>& thresholds,
                                bool per_span, double mask_replace_prob, double random_replace_prob, int64_t row_offset,
                                std::optional<Array<int64_t>> random_ids, bool check_ids, int threads) {
  TextSpanMask<Id> p{};
  p.rows = ids.shape(0);
  p.length = ids.shape(1);
  Array<Id> masked_ids({p.rows, p.length}), labels({p.rows, p.length});
  Array<bool> mask({p.rows, p.length});
  constexpr int64_t size = sizeof(Id);
  p.ids = ids.data();
  p.ids_row_stride = ids.strides(0) / size;
  p.ids_stride = ids.strides(1) / size;
  if (special) {
    p.special = special->data();
    p.special_row_stride = special->strides(0);
    p.special_stride = special->strides(1);
  }
  if (word_ids) {
    p.word_ids = word_ids->data();
    p.word_row_stride = word_ids->strides(0) / 8;
    p.word_stride = word_ids->strides(1) / 8;
  }
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.mask_ratio = mask_ratio;
  p.lengths = {min_span, static_cast<int32_t>(thresholds.size()), {}};
  for (size_t i = 0; i < thresholds.size(); ++i) p.lengths.thresholds[i] = static_cast<uint64_t>(thresholds[i]);
  p.per_span = per_span;
  p.replacement = token_replacement<Id>(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_ids);
  p.last_id = check_ids ? static_cast<Id>(vocab_size - 1) : Id{-1};
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data();
  p.labels = labels.mutable_data();
  p.mask = mask.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::text_span_mask(p, threads);
  }
  return py::make_tuple(masked_ids, labels, mask);
}

void bind_text_span_mask(py::module_& m) {
  m.def("text_span_mask_int32", &text_span_mask<int32_t>);
  m.def("text_span_mask_int64", &text_span_mask<int64_t>);
}

}  // namespace sslfast::host
