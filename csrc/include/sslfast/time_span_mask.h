#pragma once

#include "sslfast/launch.h"

namespace sslfast {

enum class SpanRule : int64_t { kExact = 0, kHuggingFace = 1, kFairseq = 2 };

// How fairseq makes the rows of a batch mask equally many frames.
enum class SameCount : int64_t { kNo = 0, kFewest = 1, kMost = 2 };

// Masked spans of mask_length frames in rows of `length` frames. Outputs contiguous; writes one byte a frame.
struct TimeSpanMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, length;
  const int64_t* lengths;  // (rows): frames of each row before its padding, or null
  double mask_prob;
  int64_t mask_length, min_masks;
  SpanRule rule;
  SameCount same_count;  // fairseq's alone
  double mask_dropout;   // fairseq's alone
  bool* mask;            // (rows, length)
  int64_t* counts;       // fairseq's alone, else null: (rows), frames that the spans cover
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
