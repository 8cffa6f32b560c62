// Bilinear resizing with antialiasing, the weights of PIL and torchvision in integers: output i of `target` averages
// the pixels j of `source` by a triangle centred on (i + 1/2) source / target that reaches max(source, target) /
// target pixels to either side. Times 2 max(source, target), a weight is the integer max(0, reach - |distance|).
#pragma once

#include "sslfast/launch.h"

namespace sslfast::augment {

struct Axis {
  int32_t source, target;
  int32_t reach;  // 2 max(source, target)
  int32_t taps;   // every output takes this many; the weights of some may be 0

  SSLFAST_HD Axis(int64_t source_size, int64_t target_size)
      : source(static_cast<int32_t>(source_size)),
        target(static_cast<int32_t>(target_size)),
        reach(2 * (source > target ? source : target)),
        taps((reach + target - 1) / target) {
    if (taps > source) taps = source;
  }

  // The first tap of output i.
  SSLFAST_HD int32_t first(int32_t i) const {
    const int64_t numerator = (2 * int64_t{i} + 1) * source - reach + target;
    if (numerator <= 0) return 0;
    const int64_t tap = numerator / (2 * int64_t{target});
    return static_cast<int32_t>(tap < source - taps ? tap : source - taps);
  }

  // Distance of tap j from the centre of output i; the next tap's is 2 * target more.
  SSLFAST_HD int32_t distance(int32_t i, int32_t j) const {
    return static_cast<int32_t>((2 * int64_t{j} + 1) * target - (2 * int64_t{i} + 1) * source);
  }

  SSLFAST_HD int32_t weight(int32_t distance) const {
    const int32_t w = reach - (distance < 0 ? -distance : distance);
    return w < 0 ? 0 : w;
  }
};

}  // namespace sslfast::augment
