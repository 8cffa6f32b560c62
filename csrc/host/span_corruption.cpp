#include "sslfast/span_corruption.h"

#include "arrays.h"

namespace sslfast::host {

template <typename Id>
static py::tuple span_corruption(py::array_t<Id> ids, std::optional<Array<int64_t>> lengths, uint64_t seed,
                                 std::optional<Array<int64_t>> sample_ids, double noise_density, double mean_span,
                                 bool anywhere, int64_t sentinel, int64_t sentinel_step, std::optional<int64_t> eos,
                                 int64_t pad, int64_t ignore_index, int64_t input_length, int64_t target_length,
                                 int64_t row_offset, int threads) {
  SpanCorruption<Id> p{};
  p.rows = ids.shape(0);
  p.length = ids.shape(1);
  Array<Id> inputs({p.rows, input_length}), targets({p.rows, target_length});
  Array<int64_t> input_lengths(p.rows);
  constexpr int64_t size = sizeof(Id);
  p.ids = ids.data();
  p.ids_row_stride = ids.strides(0) / size;
  p.ids_stride = ids.strides(1) / size;
  p.lengths = lengths ? lengths->data() : nullptr;
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.noise_density = noise_density;
  p.mean_span = mean_span;
  p.anywhere = anywhere;
  p.sentinel = static_cast<Id>(sentinel);
  p.sentinel_step = sentinel_step;
  p.append_eos = eos.has_value();
  p.eos = static_cast<Id>(eos.value_or(0));
  p.pad = static_cast<Id>(pad);
  p.ignore_index = static_cast<Id>(ignore_index);
  p.input_length = input_length;
  p.target_length = target_length;
  p.inputs = inputs.mutable_data();
  p.targets = targets.mutable_data();
  p.input_lengths = input_lengths.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::span_corruption(p, threads);
  }
  return py::make_tuple(inputs, targets, input_lengths);
}

void bind_span_corruption(py::module_& m) {
  m.def("span_corruption_int32", &span_corruption<int32_t>);
  m.def("span_corruption_int64", &span_corruption<int64_t>);
}

}  // namespace sslfast::host
