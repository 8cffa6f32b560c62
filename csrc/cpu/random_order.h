// All places of a random order at once.
#pragma once

#include <vector>

#include "shared/random_order.h"

namespace sslfast::cpu {

// One thread's working space, which grows to what the largest order needs: about 32 sqrt(n) bytes.
class RandomOrder {
 public:
  // numbers[place] for all n places.
  void draw(const OrderDraw& draw, int64_t n, int32_t* numbers);

 private:
  std::vector<int32_t> shifts_, block_;
};

}  // namespace sslfast::cpu
