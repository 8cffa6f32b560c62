// Orders of turns, by the environment variable CUDA_ON_CPU_ORDER: "ascending" (also where it is not set), "descending",
// or a number, the seed of an order that is drawn anew for every round. Blocks go the same way.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace cuda_on_cpu {

struct Order {
  enum { kUp, kDown, kDrawn } kind = kUp;
  std::mt19937_64 draw;

  Order() {
    const char* const name = std::getenv("CUDA_ON_CPU_ORDER");
    const std::string order = name ? name : "ascending";
    if (order == "ascending") return;
    kind = order == "descending" ? kDown : kDrawn;
    if (kind == kDrawn) draw.seed(std::stoull(order));
  }

  template <typename Number>
  void arrange(std::vector<Number>& numbers) {
    std::iota(numbers.begin(), numbers.end(), Number{0});
    if (kind == kDown) std::reverse(numbers.begin(), numbers.end());
    if (kind == kDrawn) std::shuffle(numbers.begin(), numbers.end(), draw);
  }
};

}  // namespace cuda_on_cpu
