#include "sslfast/audio_augment.h"

#include <optional>
#include <vector>

#include "dtype.h"

namespace sslfast::ops {

static const int64_t* read_lengths(const std::optional<Tensor>& lengths, int64_t rows) {
  if (!lengths) return nullptr;
  check(lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && lengths->size(0) == rows &&
            lengths->is_contiguous() && here(*lengths),
        "audio_augment: lengths must be contiguous int64, one a row");
  return lengths->const_data_ptr<int64_t>();
}

static void check_params(const Tensor& params, int64_t rows) {
  check(params.dim() == 2 && here(params) && params.scalar_type() == ScalarType::Double && params.is_contiguous() &&
            params.size(0) == rows && params.size(1) == kAudioColumns,
        "audio_augment: params must be contiguous float64 (rows, 13)");
}

// `ranges`: low and high of the shift, the gain, the noise's level, the level and the ratio of the other waveform and
// the share of the row that it covers; `chances`: of shift, gain, polarity, noise, mixing.
static Tensor audio_augment_params(const Tensor& like, const Tensor& seed, const std::optional<Tensor>& sample_ids,
                                   const std::optional<Tensor>& lengths, int64_t rows, int64_t length,
                                   std::vector<double> ranges, std::vector<double> chances, bool shift_in_samples,
                                   bool mix_by_ratio, int64_t bank_rows, int64_t bank_length, int64_t row_offset) {
  constexpr int64_t most = int64_t{1} << 31;
  check(rows >= 0 && length >= 0 && length < most, "audio_augment_params: at most 2^31 - 1 samples a row");
  check(bank_rows >= 0 && bank_rows < most && bank_length >= 0 && bank_length < most && (bank_rows == 0 || bank_length),
        "audio_augment_params: at most 2^31 - 1 rows and samples of a bank");
  check(ranges.size() == 12 && chances.size() == 5, "audio_augment_params: six ranges and five probabilities");
  const double reach = shift_in_samples ? static_cast<double>(most / 2) : 1.0;
  check(-reach <= ranges[0] && ranges[0] <= ranges[1] && ranges[1] <= reach && 0 <= ranges[10] &&
            ranges[10] <= ranges[11] && ranges[11] <= 1,
        "audio_augment_params: shares and shifts are ascending, shares at most 1");
  Tensor out = empty({rows, kAudioColumns}, ScalarType::Double, like);
  AudioAugmentParams p{};
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, rows);
  p.lengths = read_lengths(lengths, rows);
  p.rows = rows;
  p.length = length;
  p.shift = {ranges[0], ranges[1]};
  p.shift_in_samples = shift_in_samples;
  p.gain_db = {ranges[2], ranges[3]};
  p.noise_snr_db = {ranges[4], ranges[5]};
  p.mix_snr_db = {ranges[6], ranges[7]};
  p.mix_ratio = {ranges[8], ranges[9]};
  p.mix_length = {ranges[10], ranges[11]};
  p.mix_by_ratio = mix_by_ratio;
  p.shift_threshold = probability_threshold(chances[0]);
  p.gain_threshold = probability_threshold(chances[1]);
  p.polarity_threshold = probability_threshold(chances[2]);
  p.noise_threshold = probability_threshold(chances[3]);
  p.mix_threshold = probability_threshold(chances[4]);
  p.bank_rows = bank_rows;
  p.bank_length = bank_length;
  p.out = out.mutable_data_ptr<double>();
  launch([](const auto& params, auto where) { return backend::audio_augment_params(params, where); }, p, like);
  return out;
}

static Tensor audio_augment(const Tensor& x, const Tensor& params, const std::optional<Tensor>& lengths,
                            const std::optional<Tensor>& bank, bool rollover, bool powers) {
  check(x.dim() == 3 && here(x) && x.size(2) < int64_t{1} << 31,
        "audio_augment: x must be (rows, channels, samples), at most 2^31 - 1 samples");
  AudioAugment p{};
  p.dtype = read_dtype(x.scalar_type());
  p.rows = x.size(0);
  p.channels = x.size(1);
  p.length = x.size(2);
  check_params(params, p.rows);
  check(!bank || (bank->dim() == 2 && here(*bank) && bank->scalar_type() == x.scalar_type() && bank->size(0) > 0 &&
                  bank->size(1) > 0 && bank->is_contiguous()),
        "audio_augment: bank must be contiguous (rows, samples), like x");
  Tensor out = empty({p.rows, p.channels, p.length}, x.scalar_type(), x);
  Tensor sums = empty({p.rows, powers ? p.channels + 1 : 0, powers ? audio_parts(p.length) : 0}, ScalarType::Double, x);
  p.x = x.const_data_ptr();
  p.row_stride = x.stride(0);
  p.channel_stride = x.stride(1);
  p.stride = x.stride(2);
  p.lengths = read_lengths(lengths, p.rows);
  p.params = params.const_data_ptr<double>();
  if (bank) {
    p.bank = bank->const_data_ptr();
    p.bank_rows = bank->size(0);
    p.bank_length = p.bank_row_stride = bank->size(1);
  }
  p.rollover = rollover;
  p.powers = powers;
  p.out = out.mutable_data_ptr();
  p.sums = sums.mutable_data_ptr<double>();
  launch([](const AudioAugment& what, auto where) { return backend::audio_augment(what, where); }, p, x);
  return out;
}

static Tensor audio_noise(const Tensor& params, int64_t channels, int64_t length) {
  check_params(params, params.size(0));
  check(channels >= 0 && length >= 0 && length < int64_t{1} << 31, "audio_noise: at most 2^31 - 1 samples");
  Tensor out = empty({params.size(0), channels, length}, ScalarType::Float, params);
  AudioNoise p{};
  p.params = params.const_data_ptr<double>();
  p.rows = params.size(0);
  p.channels = channels;
  p.length = length;
  p.out = out.mutable_data_ptr<float>();
  launch([](const AudioNoise& what, auto where) { return backend::audio_noise(what, where); }, p, params);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("audio_augment_params", TORCH_BOX(&audio_augment_params));
  m.impl("audio_augment", TORCH_BOX(&audio_augment));
  m.impl("audio_noise", TORCH_BOX(&audio_noise));
}

}  // namespace sslfast::ops
