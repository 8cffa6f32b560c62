// Waveform by waveform, 1024 samples at a time: what is added to them is drawn or read, multiplied and summed in a
// buffer that stays in L1, and rounded once into the output. The sums of squares that a ratio of powers needs are taken
// first, of those rows alone that need them. Bytes: x read once, or twice where its power counts, and written once.
#include "sslfast/audio_augment.h"

#include <algorithm>
#include <vector>

#include "element_types.h"
#include "isa.h"
#include "large_output.h"
#include "shared/audio_augment_row.h"

namespace sslfast::cpu {
namespace {

using audio::Factors;
using audio::Places;

constexpr int64_t kChunk = 1024;
constexpr int64_t kSamplesPerThread = 32 << 10;
constexpr int kSums = 16;  // partial sums, so that they add in parallel and in an order of their own

// ---- white noise

constexpr int64_t kCounters = kChunk / 4;

// Fills `out` with the samples of kCounters counters from `counter` on.
SSLFAST_ISA_CLONES void white_noise(uint64_t key, uint64_t channel, int64_t counter, float* out) {
  alignas(64) uint32_t words[4][kCounters];
  for (int64_t i = 0; i < kCounters; ++i) {
    const Words w = philox(key, Stream::kAudioNoise, channel, static_cast<uint32_t>(counter + i));
    for (int k = 0; k < 4; ++k) words[k][i] = w.word[k];
  }
  for (int64_t i = 0; i < kCounters; ++i) {
    const gaussian::Pair a = gaussian::normal_pair(words[0][i], words[1][i]);
    const gaussian::Pair b = gaussian::normal_pair(words[2][i], words[3][i]);
    out[4 * i] = a.first;
    out[4 * i + 1] = a.second;
    out[4 * i + 2] = b.first;
    out[4 * i + 3] = b.second;
  }
}

// ---- sums of products over runs of samples

template <typename In>
inline __attribute__((always_inline)) double squares_body(const In* x, int64_t stride, int64_t n) {
  double sum[kSums] = {};
  int64_t i = 0;
  if (stride == 1) {
    for (; i + kSums <= n; i += kSums) {
      for (int k = 0; k < kSums; ++k) {
        const double value = widen(x[i + k]);
        sum[k] += value * value;
      }
    }
  }
  for (; i < n; ++i) {
    const double value = widen(x[i * stride]);
    sum[i % kSums] += value * value;
  }
  double total = 0;
  for (int k = 0; k < kSums; ++k) total += sum[k];
  return total;
}

// buffer = or += factor * x, over n samples.
template <typename In, bool first>
inline __attribute__((always_inline)) void scaled_body(const In* x, int64_t stride, int64_t n, Wide<In> factor,
                                                       Wide<In>* buffer) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) {
      const Wide<In> value = widen(x[i]) * factor;
      buffer[i] = first ? value : buffer[i] + value;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const Wide<In> value = widen(x[i * stride]) * factor;
      buffer[i] = first ? value : buffer[i] + value;
    }
  }
}

template <typename In>
inline __attribute__((always_inline)) void rounded_body(const Wide<In>* buffer, int64_t n, Wide<In> gain, In* out) {
  for (int64_t i = 0; i < n; ++i) narrow(buffer[i] * gain, out[i]);
}

#define SSLFAST_AUDIO_TYPE(In)                                                                                     \
  SSLFAST_ISA_CLONES double squares(const In* x, int64_t stride, int64_t n) { return squares_body(x, stride, n); } \
  SSLFAST_ISA_CLONES void set_scaled(const In* x, int64_t stride, int64_t n, Wide<In> f, Wide<In>* to) {           \
    scaled_body<In, true>(x, stride, n, f, to);                                                                    \
  }                                                                                                                \
  SSLFAST_ISA_CLONES void add_scaled(const In* x, int64_t stride, int64_t n, Wide<In> f, Wide<In>* to) {           \
    scaled_body<In, false>(x, stride, n, f, to);                                                                   \
  }                                                                                                                \
  SSLFAST_ISA_CLONES void round_to(const Wide<In>* buffer, int64_t n, Wide<In> gain, In* out) {                    \
    rounded_body(buffer, n, gain, out);                                                                            \
  }
SSLFAST_AUDIO_TYPE(float)
SSLFAST_AUDIO_TYPE(double)
SSLFAST_AUDIO_TYPE(Brain16)
SSLFAST_AUDIO_TYPE(Half16)
#undef SSLFAST_AUDIO_TYPE

SSLFAST_ISA_CLONES void add_noise(const float* noise, int64_t n, float factor, float* buffer) {
  for (int64_t i = 0; i < n; ++i) buffer[i] += noise[i] * factor;
}
SSLFAST_ISA_CLONES void add_noise(const float* noise, int64_t n, double factor, double* buffer) {
  for (int64_t i = 0; i < n; ++i) buffer[i] += noise[i] * factor;
}

// Calls each(t, position, n) for the runs of the bank's row that out[first, end) takes.
template <typename Each>
void bank_runs(const AudioAugment& p, const Places& s, int64_t first, int64_t end, Each each) {
  int64_t at = (s.noise_start + first) % p.bank_length;
  for (int64_t t = first; t < end;) {
    const int64_t n = std::min(end - t, p.bank_length - at);
    each(t, at, n);
    t += n;
    at = 0;
  }
}

// ---- one row

template <typename In>
const In* samples(const AudioAugment& p, int64_t r, int64_t c) {
  return static_cast<const In*>(p.x) + r * p.row_stride + c * p.channel_stride;
}

template <typename In>
const In* bank_row(const AudioAugment& p, int64_t row) {
  return static_cast<const In*>(p.bank) + row * p.bank_row_stride;
}

// The sums of squares of channel c of row r, or with c = channels of its noise from the bank.
template <typename In>
void sum_row(const AudioAugment& p, int64_t r, int64_t c) {
  const Places s = audio::places(p, r);
  const int64_t parts = audio_parts(p.length);
  double* sums = p.sums + (r * (p.channels + 1) + c) * parts;
  for (int64_t k = 0; k * kAudioPart < s.length; ++k) {
    const int64_t first = k * kAudioPart, end = std::min(s.length, first + kAudioPart);
    if (c < p.channels) {
      sums[k] = squares(samples<In>(p, r, c) + first * p.stride, p.stride, end - first);
      continue;
    }
    sums[k] = 0;
    bank_runs(p, s, first, end,
              [&](int64_t, int64_t at, int64_t n) { sums[k] += squares(bank_row<In>(p, s.noise_row) + at, 1, n); });
  }
}

// buffer[i] = factor * (x shifted)[first + i]
template <typename In>
void set_shifted(const AudioAugment& p, const Places& s, const In* x, int64_t first, int64_t end, Wide<In> factor,
                 Wide<In>* buffer) {
  const auto run = [&](int64_t t, int64_t from, int64_t n) {
    set_scaled(x + from * p.stride, p.stride, n, factor, buffer + (t - first));
  };
  if (p.rollover) {
    const int64_t from = first - s.shift < 0 ? first - s.shift + s.length : first - s.shift;
    const int64_t n = std::min(end - first, s.length - from);
    run(first, from, n);
    if (n < end - first) run(first + n, 0, end - first - n);
    return;
  }
  const int64_t begin = std::clamp(s.shift, first, end), stop = std::clamp(s.length + s.shift, begin, end);
  std::fill(buffer, buffer + (begin - first), Wide<In>(0));
  if (stop > begin) run(begin, begin - s.shift, stop - begin);
  std::fill(buffer + (stop - first), buffer + (end - first), Wide<In>(0));
}

template <typename In>
void write_row(const AudioAugment& p, const Places& s, int64_t r, int64_t c, bool streamed) {
  alignas(64) Wide<In> buffer[kChunk];
  alignas(64) float noise[kChunk];
  alignas(64) In rounded[kChunk];
  const Factors f = audio::factors(p, s, r, c);
  const In* x = samples<In>(p, r, c);
  In* out = static_cast<In*>(p.out) + (r * p.channels + c) * p.length;
  for (int64_t first = 0; first < s.length; first += kChunk) {
    const int64_t end = std::min(s.length, first + kChunk);
    set_shifted<In>(p, s, x, first, end, static_cast<Wide<In>>(f.own), buffer);
    if (s.mixed) {
      const int64_t begin = std::max(first, s.mix_first), stop = std::min(end, s.mix_end);
      if (begin < stop) {
        add_scaled(samples<In>(p, s.other, c) + (begin + s.mix_lead) * p.stride, p.stride, stop - begin,
                   static_cast<Wide<In>>(f.other), buffer + (begin - first));
      }
    }
    if (s.noisy && s.noise_row < 0) {
      white_noise(s.key, c, first / 4, noise);
      add_noise(noise, end - first, static_cast<Wide<In>>(f.noise), buffer);
    } else if (s.noisy) {
      bank_runs(p, s, first, end, [&](int64_t t, int64_t at, int64_t n) {
        add_scaled(bank_row<In>(p, s.noise_row) + at, 1, n, static_cast<Wide<In>>(f.noise), buffer + (t - first));
      });
    }
    if (streamed) {
      round_to(buffer, end - first, static_cast<Wide<In>>(f.gain), rounded);
      stream(out + first, rounded, (end - first) * sizeof(In));
    } else {
      round_to(buffer, end - first, static_cast<Wide<In>>(f.gain), out + first);
    }
  }
  std::fill(out + s.length, out + p.length, In{});
}

// The rows whose power is asked for, and those whose noise from the bank is.
template <typename In>
void sum_squares(const AudioAugment& p, int threads) {
  std::vector<char> own(p.rows), bank(p.rows);
  for (int64_t r = 0; r < p.rows; ++r) {
    const Places s = audio::places(p, r);
    if (!audio::asks_power(p, s, r)) continue;
    own[r] = 1;
    if (s.mixed) own[s.other] = 1;
    bank[r] = s.noisy && s.noise_row >= 0;
  }
  const int64_t items = p.rows * (p.channels + 1);
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
  for (int64_t i = 0; i < items; ++i) {
    const int64_t r = i / (p.channels + 1), c = i % (p.channels + 1);
    if (c < p.channels ? own[r] : bank[r]) sum_row<In>(p, r, c);
  }
}

template <typename In>
void run(const AudioAugment& p, int threads) {
  const int64_t items = p.rows * p.channels;
  threads = static_cast<int>(std::clamp<int64_t>(items * p.length / kSamplesPerThread, 1, threads));
  if (p.powers) sum_squares<In>(p, threads);
  const bool streamed = prepare_large_output(p.out, items * p.length * static_cast<int64_t>(sizeof(In))).streamed;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < items; ++i) {
      const int64_t r = i / p.channels;
      write_row<In>(p, audio::places(p, r), r, i % p.channels, streamed);
    }
    stream_fence();
  }
}

}  // namespace

void audio_augment_params(const AudioAugmentParams& p, int threads) {
  const uint64_t seed = p.seed.get();
  threads = static_cast<int>(std::clamp<int64_t>(p.rows / 1024, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t r = 0; r < p.rows; ++r) audio::row_params(p, seed, r, p.out + r * kAudioColumns);
}

void audio_augment(const AudioAugment& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { run<decltype(element)>(p, threads); });
}

void audio_noise(const AudioNoise& p, int threads) {
  const int64_t items = p.rows * p.channels;
  threads = static_cast<int>(std::clamp<int64_t>(items * p.length / kSamplesPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < items; ++i) {
    const double key = p.params[i / p.channels * kAudioColumns + kAudioNoiseKey];
    alignas(64) float noise[kChunk];
    for (int64_t first = 0; first < p.length; first += kChunk) {
      white_noise(static_cast<uint64_t>(audio::clipped(key, 0, int64_t{1} << 53)), i % p.channels, first / 4, noise);
      std::copy_n(noise, std::min(kChunk, p.length - first), p.out + i * p.length + first);
    }
  }
}

}  // namespace sslfast::cpu
