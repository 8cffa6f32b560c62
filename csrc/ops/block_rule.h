// The rule of the blocks from an operator's arguments.
#pragma once

#include "sslfast/block_mask.h"
#include "tensor.h"

namespace sslfast::ops {

inline BlockRule block_rule(int64_t height, int64_t width, double min_patches, double max_patches,
                            double log_aspect_low, double log_aspect_high, bool exact, bool shift, int64_t tries) {
  check(height >= 1 && height <= kLongestSide && width >= 1 && width <= kLongestSide, "block masks: sides of 1 to 512");
  check(min_patches >= 0 && max_patches >= 0 && log_aspect_low <= log_aspect_high,
        "block masks: ranges must be in order");
  check(tries >= 1 && tries < int64_t{1} << 14, "block masks: from 1 to 2^14 - 1 tries");  // fewer than 2^32 in a row
  return {height, width, min_patches, max_patches, log_aspect_low, log_aspect_high, exact, shift, tries};
}

}  // namespace sslfast::ops
