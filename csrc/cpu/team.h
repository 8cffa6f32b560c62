// How many threads work is worth.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sslfast::cpu {

constexpr int64_t kNumbersPerThread = 1 << 15;  // a thread that passes over less than this costs more than it saves

inline int team(int64_t work, int64_t work_per_thread, int threads) {
  return static_cast<int>(std::clamp<int64_t>(work / work_per_thread, 1, threads));
}

// Calls body(i) for every i < count, shared out among threads. One thread does without OpenMP, whose team of one costs
// a small batch about as much as its numbers do.
template <typename Body>
inline __attribute__((always_inline)) void share_out(int64_t count, int threads, Body body) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < count; ++i) body(i);
}

// Calls body(i, scratch) for every i < count, shared out among threads, each with a scratch of so many T.
template <typename T, typename Body>
void share_out_with(int64_t scratch, int64_t count, int threads, Body body) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> numbers(scratch);
#pragma omp for
    for (int64_t i = 0; i < count; ++i) body(i, numbers.data());
  }
}

}  // namespace sslfast::cpu
