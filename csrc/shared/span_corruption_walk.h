// Where the noise of one row lies: a walk over its tokens that decides at each token, with that token's word, whether
// the segment before it ends. A boundary is taken with probability (boundaries still wanted) / (boundaries left), which
// makes every set of boundaries equally likely and needs neither a sort nor memory. What the tokens of one kind, kept
// or noise, change is known beforehand, so that many lanes find the next boundary at once: a walk over runs.
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

  // Whether the token `ahead` tokens on is of the other kind than the last, if all before it are of the same.
  SSLFAST_HD bool turns(uint32_t word, int64_t ahead) const {
    const int64_t left = (in_noise ? noise : keep) - ahead;  // tokens of the same kind still to come then
    if (in_noise) return left <= 0 || uniform_below(word, static_cast<uint64_t>(left)) < spans;
    if (anywhere) return left < 0 || uniform_below(word, static_cast<uint64_t>(left) + 1) < spans;
    if (first && ahead == 0) return false;
    return left <= 0 || uniform_below(word, static_cast<uint64_t>(left)) + 1 < spans;
  }

  // Takes tokens of the same kind as the last.
  SSLFAST_HD void go_on(int64_t tokens) {
    if (tokens > 0) first = false;
    (in_noise ? noise : keep) -= tokens;
  }

  // Takes one token of the other kind; `in_noise` says afterwards which.
  SSLFAST_HD void turn() {
    first = false;
    in_noise = !in_noise;
    if (in_noise) --spans;
    --(in_noise ? noise : keep);
  }

  // Takes one token; whether it begins a span of noise. What turns() and the two after it say, for one token at a time:
  // a seventh faster on a CPU. tests/test_span_corruption_walk.py holds the two together.
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

// Walks over n tokens by their words, `lanes` at a time. first(condition) is the least number below `lanes` for which
// condition(number) holds, or `lanes`. run(begin, end, begins) gets the tokens from begin to end, all of one kind,
// which walk.in_noise says; whether the first of them begins a span of noise.
template <typename First, typename Run>
SSLFAST_HD void walk_runs(Walk& walk, const uint32_t* words, int n, int lanes, First first, Run run) {
  for (int i = 0; i < n;) {
    const int many = n - i < lanes ? n - i : lanes;
    const int found = first([&](int lane) { return lane < many && walk.turns(words[i + lane], lane); });
    const int same = found < many ? found : many;
    walk.go_on(same);
    if (same > 0) run(i, i + same, false);
    i += same;
    if (found >= many) continue;
    walk.turn();
    run(i, i + 1, walk.in_noise);
    ++i;
  }
}

}  // namespace sslfast::spans
