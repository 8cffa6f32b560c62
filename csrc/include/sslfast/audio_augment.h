#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// Columns of the row of numbers that says what happens to one waveform; sslfast.augment.AUDIO_PARAMS names them in this
// order. They are doubles, so that positions and the key are exact.
enum AudioColumn {
  kAudioShift,       // samples, towards later
  kAudioGainDb,      //
  kAudioPolarity,    // 1 or -1
  kAudioNoiseSnrDb,  // infinity: no noise
  kAudioNoiseRow,    // of the bank; -1: white noise
  kAudioNoiseStart,  // in the bank
  kAudioNoiseKey,    // of white noise, an integer below 2^52
  kAudioMixRow,      // of the batch; -1: nothing is mixed in
  kAudioMixSnrDb,    // infinity: nothing is added at a power
  kAudioMixRatio,    // weight of the waveform, the other has the rest
  kAudioMixStart,    // first sample of the other
  kAudioMixAt,       // where it goes
  kAudioMixLength,   // samples
  kAudioColumns
};

// Parameters of (rows) waveforms. Writes 104 bytes a row.
struct AudioAugmentParams {
  struct Between {
    double low, high;
  };
  Seed seed;
  Rows row_ids;
  const int64_t* lengths;  // (rows): samples of each row before its padding, or null
  int64_t rows, length;
  Between shift;
  bool shift_in_samples;  // else in shares of the row's samples
  Between gain_db, noise_snr_db, mix_snr_db, mix_ratio, mix_length;
  bool mix_by_ratio;
  uint64_t shift_threshold, gain_threshold, polarity_threshold, noise_threshold, mix_threshold;
  int64_t bank_rows, bank_length;  // 0: noise is white
  double* out;                     // (rows, kAudioColumns)
};

// out[t] = gain (ratio x[t - shift] + (1 - ratio + a) other[t] + b noise[t]) within the row's samples, zero behind
// them. a and b follow from the two ratios of powers, which are those of the waveforms before anything is done to them.
// Reads x once more for each power that is asked for, else once; writes once. Strides in elements.
struct AudioAugment {
  Dtype dtype;  // of x, bank and out
  const void* x;
  int64_t rows, channels, length, row_stride, channel_stride, stride;
  const int64_t* lengths;
  const double* params;  // (rows, kAudioColumns)
  const void* bank;      // (bank_rows, bank_length), or null
  int64_t bank_rows, bank_length, bank_row_stride;
  bool rollover;  // what is shifted out comes in at the other end; else zeros do
  bool powers;    // false: no row has a ratio of powers
  void* out;      // (rows, channels, length), contiguous
  double* sums;   // (rows, channels + 1, audio_parts): of squares, of each channel and of the row's noise from the bank
};

constexpr int64_t kAudioPart = 1 << 16;  // samples whose squares are summed together

SSLFAST_HD int64_t audio_parts(int64_t length) {
  return length < kAudioPart ? 1 : (length + kAudioPart - 1) / kAudioPart;
}

// White noise of the rows' keys alone, as AudioAugment adds it at power 1.
struct AudioNoise {
  const double* params;
  int64_t rows, channels, length;
  float* out;  // (rows, channels, length)
};

namespace cpu {
void audio_augment_params(const AudioAugmentParams& p, int threads);
void audio_augment(const AudioAugment& p, int threads);
void audio_noise(const AudioNoise& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t audio_augment_params(const AudioAugmentParams& p, cudaStream_t stream);
cudaError_t audio_augment(const AudioAugment& p, cudaStream_t stream);
cudaError_t audio_noise(const AudioNoise& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
