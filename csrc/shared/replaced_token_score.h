// The loss of one token and its derivative: both backends run this. With z = sign * logit and e = exp(-|z|), the loss
// log(1 + exp(z)) is max(z, 0) + log1p(e) and its derivative is sign / (1 + e) or sign * e / (1 + e): nothing
// overflows, and the smallest losses keep their relative precision.
#pragma once

#include <cmath>
#include <cstdint>

#include "sslfast/replaced_token.h"

namespace sslfast::replaced {

// What a logit is multiplied by: -1 where the token is replaced, 1 where it is not, NaN where the label is neither.
template <typename Label>
SSLFAST_HD float sign_of(Label label) {
  return label == Label(0) ? 1.0f : label == Label(1) ? -1.0f : NAN;
}

template <typename T>
SSLFAST_HD T loss_of(T z, T log1p_e) {
  return (z > T(0) ? z : T(0)) + log1p_e;
}

template <typename T>
SSLFAST_HD T slope_of(T sign, T z, T e) {
  const T inverse = T(1) / (T(1) + e);  // before the choice, so that vectors divide once
  return sign * (z > T(0) ? inverse : e * inverse);
}

// What a sum of losses is multiplied by.
template <typename T>
SSLFAST_HD double share_of(const ReplacedToken& p, int64_t tokens) {
  if (p.items) {
    const double items = static_cast<const T*>(p.items)[0];
    return items == 0.0 ? 0.0 : 1.0 / items;
  }
  return 1.0 / (p.divisor != 0.0 ? p.divisor : static_cast<double>(tokens > 0 ? tokens : 1));
}

}  // namespace sslfast::replaced
