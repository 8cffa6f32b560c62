// Two passes over a tile that is in L2: the first finds its range, the second writes the codes.
#include "sslfast/kept_logits.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "isa.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = 4096;  // logits that a thread takes at once

// Code c > 0 is the logit base + c * step. Where nothing is kept the step is NaN.
struct Scale {
  float base, step;
};
static_assert(sizeof(Scale) == packed_size(0) * sizeof(uint16_t));

constexpr float kSteps = 65534;  // between the lowest logit's code, 1, and the highest's

// Up to this range weights are off by 2^-10 at most, half of what rounding them to bf16 may take.
constexpr float kWidestRange = 128;
// Logits closer together are one number: the inverse of the step would not be finite, and no weight shows it.
constexpr float kLeastRange = 1e-30f;

struct Range {
  float low = kInfinity, high = -kInfinity;  // of all logits but -inf
  int32_t kept = 1;                          // whether none of them is NaN or inf
};

SSLFAST_ISA_CLONES Range range_of(const float* s, int64_t n) {
  float low = kInfinity, high = -kInfinity;
  int32_t kept = 1;
#pragma omp simd reduction(min : low) reduction(max : high) reduction(& : kept)
  for (int64_t j = 0; j < n; ++j) {
    const float number = s[j] > -kInfinity ? s[j] : kInfinity;
    low = number < low ? number : low;
    high = s[j] > high ? s[j] : high;
    kept &= s[j] < kInfinity ? 1 : 0;
  }
  return {low, high, kept};
}

SSLFAST_ISA_CLONES void encode(const float* s, int64_t n, float low, float inverse, uint16_t* codes) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float code = (s[j] - low) * inverse + 1.5f;  // to the nearest
    codes[j] = static_cast<uint16_t>(static_cast<int32_t>(s[j] >= low ? code : 0.0f));
  }
}

SSLFAST_ISA_CLONES void decode(const uint16_t* codes, int64_t n, Scale scale, float* s) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float logit = scale.base + static_cast<float>(static_cast<int32_t>(codes[j])) * scale.step;
    s[j] = codes[j] == 0 ? -kInfinity : logit;
  }
}

template <typename Body>
void share_out_blocks(int64_t count, int threads, Body body) {
  share_out((count + kBlock - 1) / kBlock, team(count, kNumbersPerThread, threads),
            [&](int64_t block) { body(block * kBlock, std::min(kBlock, count - block * kBlock)); });
}

template <typename T>
void copy(const T* from, int64_t count, T* to, int threads) {
  share_out_blocks(count, threads, [&](int64_t begin, int64_t n) { std::copy_n(from + begin, n, to + begin); });
}

Range range_of_tile(const float* logits, int64_t count, int threads) {
  float low = kInfinity, high = -kInfinity;
  int32_t kept = 1;
  const int helpers = team(count, kNumbersPerThread, threads);
#pragma omp parallel for num_threads(helpers) if (helpers > 1) reduction(min : low) reduction(max : high) \
    reduction(& : kept)
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const Range part = range_of(logits + begin, std::min(kBlock, count - begin));
    low = std::min(low, part.low);
    high = std::max(high, part.high);
    kept &= part.kept;
  }
  return {low, high, kept};
}

}  // namespace

void pack_logits(const float* logits, int64_t count, uint16_t* kept, int threads) {
  const Range range = range_of_tile(logits, count, threads);
  const float between = range.high - range.low;  // of -inf alone -inf
  const float width = between < kLeastRange ? 0.0f : between;
  const bool keeps = range.kept && width <= kWidestRange;
  const float step = keeps ? width / kSteps : std::numeric_limits<float>::quiet_NaN();
  const Scale scale{range.low - step, step};
  std::memcpy(kept, &scale, sizeof scale);
  if (!keeps) return;
  const float inverse = width > 0 ? kSteps / width : 0.0f;
  uint16_t* codes = kept + packed_size(0);
  share_out_blocks(count, threads,
                   [&](int64_t begin, int64_t n) { encode(logits + begin, n, range.low, inverse, codes + begin); });
}

bool unpack_logits(const uint16_t* kept, int64_t count, float* logits, int threads) {
  Scale scale;
  std::memcpy(&scale, kept, sizeof scale);
  if (!(scale.step >= 0)) return false;
  const uint16_t* codes = kept + packed_size(0);
  share_out_blocks(count, threads, [&](int64_t begin, int64_t n) { decode(codes + begin, n, scale, logits + begin); });
  return true;
}

void copy_logits(const float* kept, int64_t count, float* logits, int threads) { copy(kept, count, logits, threads); }
void copy_logits(const double* kept, int64_t count, double* logits, int threads) { copy(kept, count, logits, threads); }

}  // namespace sslfast::cpu
