"""The spans that 32 lanes mask together, as a GPU's warp does, against those of one thread: compiled by itself for the
CPU, with the lanes one after the other."""

from __future__ import annotations

from compiled_program import words_of

PROGRAM = r"""
#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "shared/text_span_lanes.h"

using namespace sslfast;
using namespace sslfast::text_spans;

struct Team {
  template <typename Condition>
  uint32_t vote(Condition condition) const {
    uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<uint32_t>(static_cast<bool>(condition(lane))) << lane;
    return bits;
  }

  template <typename Action>
  void each(Action action) const {
    for (int lane = 0; lane < kLanes; ++lane) action(lane);
  }
};

int main() {
  std::mt19937_64 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  long long rows = 0, masked = 0, filled = 0;
  Try drawn[kLanes];
  for (int length : {1, 2, 5, 31, 32, 33, 64, 100, 512, 2000}) {
    for (double ratio : {0.01, 0.15, 0.6, 0.97, 1.0}) for (int word : {1, 2, 5, 70}) for (int gap : {0, 2, 12}) {
      for (int repeat = 0; repeat < 4; ++repeat, ++rows) {
        std::vector<uint8_t> one(length);
        int low = length, high = 0;
        int64_t maskable = 0;
        for (int t = 0; t < length; ++t) {
          if (gap && below(gap) == 0) continue;
          const bool continues = t > 0 && one[t - 1] && word > 1 && below(word) != 0;
          one[t] = static_cast<uint8_t>(kMaskable | (continues ? kContinues : 0));
          ++maskable, low = std::min(low, t), high = t + 1;
        }
        if (maskable == 0) continue;
        std::vector<uint8_t> many = one;
        SpanLengths lengths{};
        lengths.lower = repeat == 3 ? 40 : 1;
        lengths.count = repeat == 0 ? 1 : repeat == 1 ? 10 : 60;
        for (int i = 0; i < lengths.count; ++i) lengths.thresholds[i] = (uint64_t{1} << 32) * (i + 1) / lengths.count;
        const uint64_t seed = random(), row = random();
        const int64_t tokens = budget(maskable, ratio);
        choose(one.data(), low, high, tokens, lengths, seed, row);
        choose_together(many.data(), low, high, tokens, lengths, seed, row, drawn, Team{});
        if (one != many) std::printf("length %d ratio %g word %d gap %d differ\n", length, ratio, word, gap);
        const auto is_masked = [](uint8_t state) { return state & kMasked; };
        if (std::count_if(many.begin(), many.end(), is_masked) != tokens) std::printf("budget\n");
        masked += tokens;
        filled += ratio == 1.0;
      }
    }
  }
  std::printf("%lld rows %lld tokens %lld whole\n", rows, masked, filled);
}
"""


def test_by_lanes_as_by_one_thread(tmp_path):
    out = words_of(PROGRAM, tmp_path)
    assert out[1::2] == ["rows", "tokens", "whole"], out
    assert int(out[0]) == 10 * 5 * 4 * 3 * 4
    assert int(out[2]) > 250_000
