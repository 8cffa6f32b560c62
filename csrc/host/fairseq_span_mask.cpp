#include "sslfast/fairseq_span_mask.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

static py::tuple fairseq_span_mask(uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                                   std::optional<Array<int64_t>> lengths, int64_t rows, int64_t length,
                                   double mask_prob, int64_t mask_length, int64_t min_masks, int64_t span_length,
                                   double mask_other, bool apart, int64_t min_space, bool every_start,
                                   bool one_rounding, int64_t same_count, double mask_dropout, int64_t row_offset,
                                   int threads) {
  Array<bool> mask({rows, length});
  Array<int64_t> counts(rows);
  FairseqSpanMask p{};
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.rows = rows;
  p.length = length;
  p.lengths = lengths ? lengths->data() : nullptr;
  p.mask_prob = mask_prob;
  p.mask_length = mask_length;
  p.min_masks = min_masks;
  p.span_length = static_cast<SpanLength>(span_length);
  p.mask_other = mask_other;
  p.apart = apart;
  p.min_space = min_space;
  p.every_start = every_start;
  p.one_rounding = one_rounding;
  p.same_count = static_cast<SameCount>(same_count);
  p.mask_dropout = mask_dropout;
  p.mask = mask.mutable_data();
  p.counts = counts.mutable_data();
  {
    py::gil_scoped_release release;
    std::vector<int64_t> scratch(rows * scratch_numbers(p));
    p.scratch = scratch.data();
    cpu::fairseq_span_mask(p, threads);
  }
  return py::make_tuple(mask, counts);
}

void bind_fairseq_span_mask(py::module_& m) { m.def("fairseq_span_mask", &fairseq_span_mask); }

}  // namespace sslfast::host
