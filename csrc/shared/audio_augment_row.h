// What happens to one waveform: its parameters, drawn with integers and portable double arithmetic, and how they are
// read. sslfast/reference/audio_augment.py repeats the formulae.
#pragma once

#include "gaussian_noise.h"
#include "portable_double.h"
#include "sslfast/audio_augment.h"

namespace sslfast::audio {

SSLFAST_HD double infinity() { return static_cast<double>(__builtin_inff()); }

SSLFAST_HD int64_t row_length(const int64_t* lengths, int64_t r, int64_t length) {
  if (!lengths) return length;
  const int64_t own = lengths[r];
  return own < 0 ? 0 : own < length ? own : length;
}

SSLFAST_HD double uniform(uint32_t word, AudioAugmentParams::Between range) {
  using namespace portable;
  return add(range.low, mul(sub(range.high, range.low), mul(word, 1.0 / 4294967296.0)));
}

// The share of `whole`, rounded like Python's round.
SSLFAST_HD int64_t share_of(double share, int64_t whole) {
  return static_cast<int64_t>(portable::round_half_even(portable::mul(share, static_cast<double>(whole))));
}

// An integer in [low, high].
SSLFAST_HD int64_t between(uint32_t word, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(uniform_below(word, static_cast<uint64_t>(high - low) + 1));
}

// Every draw has its own word, so that none depends on whether another transform is used.
SSLFAST_HD void row_params(const AudioAugmentParams& p, uint64_t seed, int64_t r, double* out) {
  const uint64_t row = p.row_ids[r];
  const int64_t length = row_length(p.lengths, r, p.length);
  const Words a = philox(seed, Stream::kAudioAugment, row, 0), b = philox(seed, Stream::kAudioAugment, row, 1),
              c = philox(seed, Stream::kAudioAugment, row, 2), d = philox(seed, Stream::kAudioAugment, row, 3),
              key = philox(seed, Stream::kAudioAugment, row, 4);
  const int64_t low = p.shift_in_samples ? static_cast<int64_t>(p.shift.low) : share_of(p.shift.low, length);
  const int64_t high = p.shift_in_samples ? static_cast<int64_t>(p.shift.high) : share_of(p.shift.high, length);
  out[kAudioShift] = a.word[0] < p.shift_threshold ? static_cast<double>(between(a.word[1], low, high)) : 0.0;
  out[kAudioGainDb] = a.word[2] < p.gain_threshold ? uniform(a.word[3], p.gain_db) : 0.0;
  out[kAudioPolarity] = b.word[0] < p.polarity_threshold ? -1.0 : 1.0;

  const bool noise = b.word[1] < p.noise_threshold, banked = noise && p.bank_rows > 0;
  out[kAudioNoiseSnrDb] = noise ? uniform(b.word[2], p.noise_snr_db) : infinity();
  out[kAudioNoiseRow] = banked ? static_cast<double>(uniform_below(d.word[1], p.bank_rows)) : -1.0;
  const int64_t starts = p.bank_length > length ? p.bank_length - length + 1 : p.bank_length;
  out[kAudioNoiseStart] = banked ? static_cast<double>(uniform_below(d.word[2], starts)) : 0.0;
  out[kAudioNoiseKey] = static_cast<double>((static_cast<uint64_t>(key.word[1]) << 32 | key.word[0]) >> 12);

  out[kAudioMixRow] = -1.0;
  out[kAudioMixSnrDb] = infinity();
  out[kAudioMixRatio] = 1.0;
  out[kAudioMixStart] = out[kAudioMixAt] = out[kAudioMixLength] = 0.0;
  if (p.rows < 2 || !(b.word[3] < p.mix_threshold)) return;
  const int64_t other = (r + 1 + uniform_below(c.word[1], p.rows - 1)) % p.rows;
  const int64_t other_length = row_length(p.lengths, other, p.length);
  const int64_t most = other_length < length ? other_length : length;
  out[kAudioMixRow] = static_cast<double>(other);
  out[kAudioMixLength] = static_cast<double>(most);
  if (p.mix_by_ratio) {
    out[kAudioMixRatio] = uniform(c.word[0], p.mix_ratio);
    return;
  }
  out[kAudioMixSnrDb] = uniform(c.word[0], p.mix_snr_db);
  int64_t shortest = share_of(p.mix_length.low, length), longest = share_of(p.mix_length.high, length);
  shortest = shortest < 1 ? 1 : shortest;
  longest = longest < shortest ? shortest : longest;
  int64_t mixed = between(c.word[2], shortest, longest);
  mixed = mixed < most ? mixed : most;
  out[kAudioMixLength] = static_cast<double>(mixed);
  out[kAudioMixStart] = static_cast<double>(between(c.word[3], 0, other_length - mixed));
  out[kAudioMixAt] = static_cast<double>(between(d.word[0], 0, length - mixed));
}

// A number that somebody may have set by hand, as an integer in [low, high]; NaN is the lower.
SSLFAST_HD int64_t clipped(double value, int64_t low, int64_t high) {
  if (!(value > static_cast<double>(low))) return low;
  return value < static_cast<double>(high) ? static_cast<int64_t>(value) : high;
}

// 10^(decibels / 20).
SSLFAST_HD double amplitude(double decibels) {
  const double x = portable::mul(decibels, 0.11512925464970228);
  if (x != x) return x;
  return x < -700 ? 0.0 : x > 700 ? infinity() : portable::exponential(x);
}

// The places of one row, within what is there, whatever its parameters say.
struct Places {
  int64_t length;
  int64_t shift;  // in [0, length) with rollover, else in [-length, length]
  bool mixed;     // with a row that exists
  int64_t other, other_length;
  int64_t mix_first, mix_end, mix_lead;  // out[t] takes sample t + mix_lead of the other, for t from first to end
  bool noisy;
  int64_t noise_row, noise_start;  // row -1: white
  uint64_t key;
};

SSLFAST_HD Places places(const AudioAugment& p, int64_t r) {
  const double* given = p.params + r * kAudioColumns;
  Places s;
  s.length = row_length(p.lengths, r, p.length);
  constexpr int64_t kFar = int64_t{1} << 40;
  if (p.rollover) {
    const int64_t shift = s.length > 0 ? clipped(given[kAudioShift], -kFar, kFar) % s.length : 0;
    s.shift = shift < 0 ? shift + s.length : shift;
  } else {
    s.shift = clipped(given[kAudioShift], -s.length, s.length);
  }
  s.other = clipped(given[kAudioMixRow], -1, p.rows);
  s.mixed = s.other >= 0 && s.other < p.rows;
  s.other = s.mixed ? s.other : 0;
  s.other_length = row_length(p.lengths, s.other, p.length);
  const int64_t at = clipped(given[kAudioMixAt], -kFar, kFar), start = clipped(given[kAudioMixStart], -kFar, kFar);
  s.mix_lead = start - at;
  s.mix_first = at > 0 ? at : 0;
  s.mix_first = s.mix_first < -s.mix_lead ? -s.mix_lead : s.mix_first;
  s.mix_end = at + clipped(given[kAudioMixLength], 0, kFar);
  s.mix_end = s.mix_end < s.length ? s.mix_end : s.length;
  s.mix_end = s.mix_end < s.other_length - s.mix_lead ? s.mix_end : s.other_length - s.mix_lead;
  s.noisy = given[kAudioNoiseSnrDb] != infinity();
  s.noise_row = p.bank_length > 0 ? clipped(given[kAudioNoiseRow], -1, p.bank_rows) : -1;
  s.noise_row = s.noise_row < p.bank_rows ? s.noise_row : -1;
  s.noise_start = p.bank_length > 0 ? clipped(given[kAudioNoiseStart], 0, kFar) % p.bank_length : 0;
  s.key = static_cast<uint64_t>(clipped(given[kAudioNoiseKey], 0, int64_t{1} << 53));
  return s;
}

// Whether the row's own power counts: in the ratio of one of its additions.
SSLFAST_HD bool asks_power(const AudioAugment& p, const Places& s, int64_t r) {
  const bool adds = s.mixed && p.params[r * kAudioColumns + kAudioMixSnrDb] != infinity();
  return p.powers && (adds || s.noisy);
}

// The mean square of `count` samples from the sums of its parts, in their order.
SSLFAST_HD double mean_square(const AudioAugment& p, int64_t r, int64_t c, int64_t count) {
  const int64_t parts = audio_parts(p.length);
  const double* sums = p.sums + (r * (p.channels + 1) + c) * parts;
  double sum = 0.0;
  for (int64_t k = 0; k * kAudioPart < count; ++k) sum = portable::add(sum, sums[k]);
  return count > 0 ? portable::div(sum, static_cast<double>(count)) : 0.0;
}

// What an addition of power `theirs` is multiplied by; silence stays silence.
SSLFAST_HD double factor(double own, double theirs, double snr_db) {
  if (theirs == 0.0) return 0.0;
  return portable::mul(portable::square_root(portable::div(own, theirs)), amplitude(-snr_db));
}

// Multipliers of one row and channel.
struct Factors {
  double own, other, noise, gain;
};

SSLFAST_HD Factors factors(const AudioAugment& p, const Places& s, int64_t r, int64_t c) {
  const double* given = p.params + r * kAudioColumns;
  Factors f{given[kAudioMixRatio], 0.0, 0.0, portable::mul(given[kAudioPolarity], amplitude(given[kAudioGainDb]))};
  f.own = s.mixed ? f.own : 1.0;
  f.other = portable::sub(1.0, f.own);
  if (!asks_power(p, s, r)) return f;
  const double own = mean_square(p, r, c, s.length);
  if (s.mixed && given[kAudioMixSnrDb] != infinity()) {
    const double theirs = mean_square(p, s.other, c, s.other_length);
    f.other = portable::add(f.other, factor(own, theirs, given[kAudioMixSnrDb]));
  }
  if (s.noisy) {
    const double theirs = s.noise_row < 0 ? 1.0 : mean_square(p, r, p.channels, s.length);
    f.noise = factor(own, theirs, given[kAudioNoiseSnrDb]);
  }
  return f;
}

}  // namespace sslfast::audio
