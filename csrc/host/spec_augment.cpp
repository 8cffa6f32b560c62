#include "sslfast/spec_augment.h"

#include <vector>

#include "arrays.h"
#include "sslfast/spec_mean.h"

namespace sslfast::host {

// `spec` and `out` are (rows, channels, bins, frames) of equal shape and type, the same array for in place; `values`,
// contiguous and of that type, one a row and channel, take the place of `constant`.
static void spec_augment(py::array spec, py::array out, std::optional<py::array> values, uint64_t constant,
                         uint64_t seed, std::optional<Array<int64_t>> sample_ids, std::optional<Array<int64_t>> lengths,
                         int64_t bin_masks, int64_t bin_param, int64_t frame_masks, int64_t frame_param,
                         double frame_share, bool shared, int64_t rule, int64_t row_offset, int threads) {
  SpecAugment p{};
  p.draw.seed = {nullptr, seed};
  p.draw.row_ids = read_rows(sample_ids, row_offset);
  p.draw.shared = shared;
  p.draw.lengths = lengths ? lengths->data() : nullptr;
  p.draw.bin_masks = bin_masks;
  p.draw.bin_param = bin_param;
  p.draw.frame_masks = frame_masks;
  p.draw.frame_param = frame_param;
  p.draw.frame_share = frame_share;
  p.draw.rule = static_cast<SpecRule>(rule);
  const int64_t size = spec.itemsize();
  p.fill.rows = spec.shape(0);
  p.fill.channels = spec.shape(1);
  p.fill.bins = spec.shape(2);
  p.fill.frames = spec.shape(3);
  p.fill.element_size = size;
  p.fill.from = spec.data();
  p.fill.from_row_stride = spec.strides(0) / size;
  p.fill.from_channel_stride = spec.strides(1) / size;
  p.fill.from_bin_stride = spec.strides(2) / size;
  p.fill.from_frame_stride = spec.strides(3) / size;
  p.fill.to = out.mutable_data();
  p.fill.to_row_stride = out.strides(0) / size;
  p.fill.to_channel_stride = out.strides(1) / size;
  p.fill.to_bin_stride = out.strides(2) / size;
  p.fill.to_frame_stride = out.strides(3) / size;
  p.fill.values = values ? values->data() : nullptr;
  p.fill.constant = constant;
  p.fill.bin_masks = bin_masks;
  p.fill.frame_masks = frame_masks;
  py::gil_scoped_release release;
  std::vector<int32_t> intervals(p.fill.rows * p.fill.channels * (bin_masks + frame_masks) * 3);
  p.fill.intervals = intervals.data();
  cpu::spec_augment(p, threads);
}

// `means` is contiguous and of the type of `spec`, one a row and channel.
static void spec_mean(py::array spec, py::array means, std::optional<Array<int64_t>> lengths, bool whole_batch,
                      int threads) {
  const int64_t size = spec.itemsize();
  SpecMean p{};
  p.spec = spec.data();
  p.dtype = size == 2 ? Dtype::kFloat16 : size == 4 ? Dtype::kFloat32 : Dtype::kFloat64;
  p.rows = spec.shape(0);
  p.channels = spec.shape(1);
  p.bins = spec.shape(2);
  p.frames = spec.shape(3);
  p.row_stride = spec.strides(0) / size;
  p.channel_stride = spec.strides(1) / size;
  p.bin_stride = spec.strides(2) / size;
  p.frame_stride = spec.strides(3) / size;
  p.lengths = lengths ? lengths->data() : nullptr;
  p.whole_batch = whole_batch;
  p.means = means.mutable_data();
  py::gil_scoped_release release;
  std::vector<double> sums(p.rows * p.channels * (p.bins + 1));  // large enough for either type
  p.sums = sums.data();
  cpu::spec_mean(p, threads);
}

void bind_spec_augment(py::module_& m) {
  m.def("spec_augment", &spec_augment);
  m.def("spec_mean", &spec_mean);
}

}  // namespace sslfast::host
