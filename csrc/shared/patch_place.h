// Where MAE's decoder finds what belongs at a place: prefix tokens stay in front, the others lie in shuffled order.
#pragma once

#include <cstdint>

#include "sslfast/philox.h"

namespace sslfast {

// The token at place l of a row, or -1 where a mask token stands. ids_restore is the row's, without the prefix.
SSLFAST_HD int64_t token_at(const int64_t* ids_restore, int64_t l, int64_t prefix, int64_t keep) {
  if (l < prefix) return l;
  const int64_t place = ids_restore[l - prefix];
  return place >= 0 && place < keep ? prefix + place : -1;
}

}  // namespace sslfast
