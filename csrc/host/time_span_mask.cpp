#include "sslfast/time_span_mask.h"

#include "arrays.h"

namespace sslfast::host {

static Array<bool> time_span_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                                  std::optional<Array<int64_t>> lengths, int64_t rows, int64_t length, double mask_prob,
                                  int64_t mask_length, int64_t min_masks, int64_t rule, int64_t row_offset,
                                  int threads) {
  Array<bool> mask({rows, length});
  TimeSpanMask p{};
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.rows = rows;
  p.length = length;
  p.lengths = lengths ? lengths->data() : nullptr;
  p.mask_prob = mask_prob;
  p.mask_length = mask_length;
  p.min_masks = min_masks;
  p.rule = static_cast<SpanRule>(rule);
  p.mask = mask.mutable_data();
  py::gil_scoped_release release;
  cpu::time_span_mask(p, threads);
  return mask;
}

void bind_time_span_mask(py::module_& m) { m.def("time_span_mask", &time_span_mask); }

}  // namespace sslfast::host
