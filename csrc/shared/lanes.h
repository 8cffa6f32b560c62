// The lanes that work on one row together: a warp on the GPU, one on the CPU. Written once for both, so that tests on
// the CPU cover what the GPU runs; sums are of integers, so their order does not matter.
#pragma once

#include <cstdint>

#include "sslfast/philox.h"

namespace sslfast {

struct Lanes {
  int first, step;  // this lane's first item and the number of lanes
};

#ifdef __CUDA_ARCH__
SSLFAST_HD int lane_sum(int value) { return __reduce_add_sync(0xFFFFFFFFu, value); }
SSLFAST_HD int lane_min(int value) { return __reduce_min_sync(0xFFFFFFFFu, value); }
SSLFAST_HD int lane_max(int value) { return __reduce_max_sync(0xFFFFFFFFu, value); }
// The sum of the values of the lanes before this one.
SSLFAST_HD int lane_before(int value, int lane) {
  int sum = value;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = __shfl_up_sync(0xFFFFFFFFu, sum, distance);
    sum += lane >= distance ? other : 0;
  }
  return sum - value;
}
SSLFAST_HD void lane_barrier() { __syncwarp(); }
SSLFAST_HD int count_bits(uint64_t bits) { return __popcll(bits); }
SSLFAST_HD int lowest_bit(uint64_t bits) { return __ffsll(static_cast<long long>(bits)) - 1; }
#else
SSLFAST_HD int lane_sum(int value) { return value; }
SSLFAST_HD int lane_min(int value) { return value; }
SSLFAST_HD int lane_max(int value) { return value; }
SSLFAST_HD int lane_before(int, int) { return 0; }
SSLFAST_HD void lane_barrier() {}
SSLFAST_HD int count_bits(uint64_t bits) { return __builtin_popcountll(bits); }
SSLFAST_HD int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }
#endif

}  // namespace sslfast
