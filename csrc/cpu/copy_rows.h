// Outputs made of whole rows of bytes, each written once: zero rows in the same pass as the others, and past the caches
// where the output is larger than they are.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "large_output.h"
#include "team.h"

namespace sslfast::cpu {

constexpr int64_t kBytesPerThread = 256 << 10;  // a thread that has less than this to do costs more than it saves

// Where a row of the output comes from; null: it is zero.
template <typename Element>
struct SourceRow {
  const Element* data;
  int64_t stride;
};

// Row i of `out`, contiguous, is source(i). A thread takes its rows in order, and groups of `group` rows whole.
template <typename Element, typename Source>
void write_rows(void* out, int64_t rows, int64_t width, int threads, Source source, int64_t group = 1) {
  const int64_t bytes = width * sizeof(Element);
  const int64_t groups = (rows + group - 1) / group;
#pragma omp parallel num_threads(team(rows* bytes, kBytesPerThread, threads)) if (threads > 1)
  {
    const int64_t first = groups * omp_get_thread_num() / omp_get_num_threads() * group;
    const int64_t last = std::min(rows, groups * (omp_get_thread_num() + 1) / omp_get_num_threads() * group);
    Element* to = static_cast<Element*>(out) + first * width;
    const LargeOutput memory = prepare_large_output(to, (last - first) * bytes);
    for (int64_t i = first; i < last; ++i, to += width) {
      const SourceRow<Element> from = source(i);
      if (!from.data && memory.is_zero(to, bytes)) continue;
      if (memory.streamed && (from.stride == 1 || !from.data)) {
        stream(to, from.data, bytes);
      } else if (!from.data) {
        std::memset(to, 0, bytes);
      } else if (from.stride == 1) {
        std::memcpy(to, from.data, bytes);
      } else {
        for (int64_t d = 0; d < width; ++d) to[d] = from.data[d * from.stride];
      }
    }
    stream_fence();
  }
}

}  // namespace sslfast::cpu
