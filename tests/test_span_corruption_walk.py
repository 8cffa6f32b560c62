"""The walk of span corruption by 32 lanes, as a GPU's warp makes it, against that by single tokens: compiled by itself
for the CPU, with the lanes one after the other."""

from __future__ import annotations

from compiled_program import words_of

PROGRAM = r"""
#include <cstdio>
#include <random>
#include <vector>

#include "shared/span_corruption_walk.h"

using namespace sslfast::spans;

struct Token {
  bool noise, begins;
  bool operator==(const Token& other) const { return noise == other.noise && begins == other.begins; }
};

int main() {
  std::mt19937_64 random(7);
  long long rows = 0, tokens = 0, turns = 0;
  const double densities[] = {0.001, 0.15, 0.5, 0.85, 0.999};
  const double means[] = {1.0, 1.5, 3.0, 20.0, 1000.0};
  const int chunks[] = {1, 7, 32, 33, 1024};
  for (int length : {0, 1, 2, 3, 20, 31, 32, 33, 64, 65, 100, 512, 1025, 3000}) {
    for (double density : densities) for (double mean : means) for (bool anywhere : {false, true}) {
      for (int repeat = 0; repeat < 4; ++repeat, ++rows) {
        std::vector<uint32_t> words(length);
        for (auto& word : words) word = static_cast<uint32_t>(random() >> (repeat == 3 ? 63 : 32));  // near 0 as well
        const Counts wanted = counts(length, density, mean, anywhere);
        Walk single(length, wanted, anywhere), lanes(length, wanted, anywhere);
        std::vector<Token> one, many;
        for (int i = 0; i < length; ++i) {
          const bool begins = single.step(words[i]);
          one.push_back({single.in_noise, begins});
        }
        const int chunk = chunks[rows % 5];
        const auto first = [](auto condition) {
          for (int lane = 0; lane < 32; ++lane) if (condition(lane)) return lane;
          return 32;
        };
        for (int at = 0; at < length; at += chunk) {
          const int n = chunk < length - at ? chunk : length - at;
          walk_runs(lanes, words.data() + at, n, 32, first, [&](int begin, int end, bool begins) {
            if (begin + at != static_cast<int>(many.size())) std::printf("out of order\n");
            if (begins && end != begin + 1) std::printf("a span begins twice\n");
            for (int i = begin; i < end; ++i) many.push_back({lanes.in_noise, begins});
          });
        }
        if (!(one == many)) std::printf("length %d density %g mean %g differ\n", length, density, mean);
        if (single.noise != lanes.noise || single.spans != lanes.spans) std::printf("ends differ\n");
        long long noise = 0, begun = 0;
        for (const Token& token : one) noise += token.noise, begun += token.begins;
        if (noise != wanted.noise || begun != wanted.spans) std::printf("counts\n");
        tokens += length, turns += begun;
      }
    }
  }
  std::printf("%lld rows %lld tokens %lld spans\n", rows, tokens, turns);
}
"""


def test_by_lanes_as_by_tokens(tmp_path):
    out = words_of(PROGRAM, tmp_path)
    assert out[1::2] == ["rows", "tokens", "spans"], out
    assert int(out[0]) == 14 * 5 * 5 * 2 * 4
    assert int(out[4]) > 50_000
