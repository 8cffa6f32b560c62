// The sum of a line of numbers in an order that every backend keeps: 32 lanes add every 32nd number each, then the
// upper half of the lanes is added to the lower until one is left. A warp holds a lane a thread, the CPU all lanes as
// vectors. A spectrogram's sum is that of its bins' lines of frames, a batch's that of its spectrograms.
#pragma once

#include <cstdint>

#include "sslfast/spec_mean.h"

namespace sslfast::spec {

constexpr int kLanes = 32;

// Of load(0), ..., load(n - 1), by a thread that holds the kHeld lanes from `first`.
template <int kHeld, typename T, typename Load>
SSLFAST_HD T line_sum(int first, int64_t n, Load load) {
  T sums[kHeld] = {};
  int64_t i = first;
  for (; i + kLanes <= n + first; i += kLanes) {
    for (int k = 0; k < kHeld; ++k) sums[k] += load(i + k);
  }
  // Nought is added, not nothing, so that this vectorises: no sum is -0 whose bits it would change.
  for (int k = 0; k < kHeld; ++k) sums[k] += i + k < n ? load(i + k) : T{};
  for (int half = kLanes / 2; half > 0; half /= 2) {
#ifdef __CUDA_ARCH__
    sums[0] += __shfl_xor_sync(0xFFFFFFFFu, sums[0], half);
#else
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
#endif
  }
  return sums[0];
}

// Of row r, before its padding.
SSLFAST_HD int64_t frames_of(const SpecMean& p, int64_t r) {
  if (!p.lengths) return p.frames;
  const int64_t length = p.lengths[r];
  return length < 0 ? 0 : length < p.frames ? length : p.frames;
}

template <typename T>
SSLFAST_HD T mean_of(T sum, int64_t count) {
  return sum / static_cast<T>(count > 0 ? count : 1);
}

}  // namespace sslfast::spec
