#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// out (rows, elements, 4): word w of philox(seed, stream, row_offset + r, e).
struct PhiloxWords {
  Seed seed;
  uint32_t stream;
  int64_t row_offset, rows, elements;
  int32_t* out;
};

namespace cpu {
void philox_words(const PhiloxWords& p, int threads);
}

}  // namespace sslfast
