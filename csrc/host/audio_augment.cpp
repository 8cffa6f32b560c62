#include "sslfast/audio_augment.h"

#include <vector>

#include "arrays.h"

namespace sslfast::host {

using Numbers = std::vector<double>;

static Array<double> audio_augment_params(uint64_t seed, std::optional<Array<int64_t>> sample_ids,
                                          std::optional<Array<int64_t>> lengths, int64_t rows, int64_t length,
                                          Numbers ranges, Numbers chances, bool shift_in_samples, bool mix_by_ratio,
                                          int64_t bank_rows, int64_t bank_length, int64_t row_offset, int threads) {
  Array<double> out({rows, static_cast<int64_t>(kAudioColumns)});
  const auto range = [&](int k) { return AudioAugmentParams::Between{ranges.at(2 * k), ranges.at(2 * k + 1)}; };
  AudioAugmentParams p{};
  p.seed = {nullptr, seed};
  p.row_ids = read_rows(sample_ids, row_offset);
  p.lengths = lengths ? lengths->data() : nullptr;
  p.rows = rows;
  p.length = length;
  p.shift = range(0);
  p.shift_in_samples = shift_in_samples;
  p.gain_db = range(1);
  p.noise_snr_db = range(2);
  p.mix_snr_db = range(3);
  p.mix_ratio = range(4);
  p.mix_length = range(5);
  p.mix_by_ratio = mix_by_ratio;
  p.shift_threshold = probability_threshold(chances.at(0));
  p.gain_threshold = probability_threshold(chances.at(1));
  p.polarity_threshold = probability_threshold(chances.at(2));
  p.noise_threshold = probability_threshold(chances.at(3));
  p.mix_threshold = probability_threshold(chances.at(4));
  p.bank_rows = bank_rows;
  p.bank_length = bank_length;
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  cpu::audio_augment_params(p, threads);
  return out;
}

// `x` is (rows, channels, samples), `out` like it and contiguous, `bank` contiguous, all of one type.
static void audio_augment(py::array x, py::array out, Array<double> params, std::optional<Array<int64_t>> lengths,
                          std::optional<py::array> bank, bool rollover, bool powers, int threads) {
  const int64_t size = x.itemsize();
  AudioAugment p{};
  p.dtype = size == 8 ? Dtype::kFloat64 : size == 4 ? Dtype::kFloat32 : Dtype::kFloat16;
  p.x = x.data();
  p.rows = x.shape(0);
  p.channels = x.shape(1);
  p.length = x.shape(2);
  p.row_stride = x.strides(0) / size;
  p.channel_stride = x.strides(1) / size;
  p.stride = x.strides(2) / size;
  p.lengths = lengths ? lengths->data() : nullptr;
  p.params = params.data();
  if (bank) {
    p.bank = bank->data();
    p.bank_rows = bank->shape(0);
    p.bank_length = p.bank_row_stride = bank->shape(1);
  }
  p.rollover = rollover;
  p.powers = powers;
  p.out = out.mutable_data();
  py::gil_scoped_release release;
  std::vector<double> sums(powers ? p.rows * (p.channels + 1) * audio_parts(p.length) : 0);
  p.sums = sums.data();
  cpu::audio_augment(p, threads);
}

void bind_audio_augment(py::module_& m) {
  m.def("audio_augment_params", &audio_augment_params);
  m.def("audio_augment", &audio_augment);
}

}  // namespace sslfast::host
