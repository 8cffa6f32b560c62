#pragma once

#include "sslfast/launch.h"

namespace sslfast {

enum class SpanRule : int64_t { kExact = 0, kHuggingFace = 1 };

// Masked spans of mask_length frames in rows of `length` frames. Output contiguous; writes one byte a frame.
struct TimeSpanMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, length;
  const int64_t* lengths;  // (rows): frames of each row before its padding, or null
  double mask_prob;
  int64_t mask_length, min_masks;
  SpanRule rule;
  bool* mask;  // (rows, length)
};

namespace cpu {
void time_span_mask(const TimeSpanMask& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t time_span_mask(const TimeSpanMask& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
