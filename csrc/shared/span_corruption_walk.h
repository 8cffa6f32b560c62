// Where the noise of one row lies: a walk over its tokens that decides at each token, with that token's word, whether
// the segment before it ends. A boundary is taken with probability (boundaries still wanted) / (boundaries left), which
// makes every set of boundaries equally likely and needs neither a sort nor memory.
#pragma once

#include "portable_double.h"
#include "sslfast/span_corruption.h"

namespace sslfast::spans {

struct Counts {
  int64_t noise, spans;
};

// T5's counts, rounded half to even; each span holds a token and so does what lies between two of them. A row of less
// than two tokens has no noise.
SSLFAST_HD Counts counts(int64_t length, double noise_density, double mean_span, bool anywhere) {
  if (length < 2) return {0, 0};
  const double wanted = portable::round_half_even(portable::mul(static_cast<double>(length), noise_density));
  int64_t noise = static_cast<int64_t>(wanted);
  noise = noise < 1 ? 1 : noise > length - 1 ? length - 1 : noise;
  int64_t spans = static_cast<int64_t>(portable::round_half_even(portable::div(static_cast<double>(noise), mean_span)));
  const int64_t places = length - noise + (anywhere ? 1 : 0);
  spans = spans < 1 ? 1 : spans;
  spans = spans > noise ? noise : spans;
  return {noise, spans > places ? places : spans};
}

struct Walk {
  int64_t keep, noise, spans;  // tokens and spans still to come
  bool anywhere, in_noise, first;

  SSLFAST_HD Walk(int64_t length, Counts c, bool noise_anywhere)
      : keep(length - c.noise),
        noise(c.noise),
        spans(c.spans),
        anywhere(noise_anywhere),
        in_noise(false),
        first(true) {}

  // Takes one token; whether it begins a span of noise. `in_noise` says afterwards what it is.
  SSLFAST_HD bool step(uint32_t word) {
    bool begins = false;
    if (in_noise) {
      in_noise = noise > 0 && uniform_below(word, static_cast<uint64_t>(noise)) >= spans;
    } else if (anywhere) {
      begins = uniform_below(word, static_cast<uint64_t>(keep) + 1) < spans;
    } else if (!first) {
      begins = keep == 0 || uniform_below(word, static_cast<uint64_t>(keep)) + 1 < spans;
    }
    first = false;
    if (begins) {
      in_noise = true;
      --spans;
    }
    --(in_noise ? noise : keep);
    return begins;
  }
};

}  // namespace sslfast::spans
