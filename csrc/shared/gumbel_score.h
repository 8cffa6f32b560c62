// The score of one id, and a bound on it that costs no logarithm.
//
// A score is decided in portable double arithmetic, equal everywhere. Nearly no id needs it: with x = 2^32 - 1 - word,
// the noise -log(-log(u)), u = (word + 1/2) / 2^32, is at most 32 log 2 - log x, because -log u >= 1 - u, and the bits
// of a float are a lower bound of its binary logarithm. An id whose bound lies below the best score so far cannot win.
// What the bound lets through changes the time, never the result.
#pragma once

#include "portable_double.h"

namespace sslfast::gumbel {

constexpr float kInfinity = __builtin_inff();
constexpr float kLargest = 3.4028234e38f;

SSLFAST_HD double score(float logit, uint32_t word, double inverse_temperature) {
  using namespace portable;
  const double u = mul(add(static_cast<double>(word), 0.5), 1.0 / 4294967296.0);
  const double noise = -logarithm(-logarithm(u));
  return add(mul(static_cast<double>(logit), inverse_temperature), noise);
}

SSLFAST_HD float noise_bound(uint32_t word) {
  const float half = static_cast<float>(static_cast<int32_t>(~word >> 1));  // x / 2, rounded down
#ifdef __CUDA_ARCH__
  const int32_t bits = __float_as_int(half);
#else
  int32_t bits;
  __builtin_memcpy(&bits, &half, 4);
#endif
  return 0.69314718f * (158.0f - static_cast<float>(bits) * (1.0f / 8388608.0f));
}

// What a bound has to reach: the best score, less what float arithmetic may have lost.
SSLFAST_HD float bar(double best) {
  const double slack = 2e-3 + 2e-6 * (best < 0 ? -best : best);
  const double low = best - slack;
  return low > kLargest ? kLargest : static_cast<float>(low);
}

// Whether an id may win; never true of -inf and NaN.
SSLFAST_HD bool may_win(float logit, uint32_t word, float inverse_temperature, float bar) {
  return (logit > -kInfinity) & !(logit * inverse_temperature + noise_bound(word) < bar);
}

struct Best {
  double score;
  int64_t id;  // -1: none

  SSLFAST_HD bool worse_than(double other, int64_t other_id) const {
    return id < 0 || other > score || (other == score && other_id < id);
  }
};

}  // namespace sslfast::gumbel
