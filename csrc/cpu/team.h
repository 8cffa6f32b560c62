// How many threads work is worth.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sslfast::cpu {

constexpr int64_t kNumbersPerThread = 1 << 15;  // a thread that passes over less than this costs more than it saves

inline int team(int64_t work, int64_t work_per_thread, int threads) {
  return static_cast<int>(std::clamp<int64_t>(work / work_per_thread, 1, threads));
}

}  // namespace sslfast::cpu
