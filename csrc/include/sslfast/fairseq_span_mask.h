#pragma once

#include "sslfast/launch.h"

namespace sslfast {

// What the lengths of spans are drawn from.
enum class SpanLength : int64_t { kStatic = 0, kUniform = 1, kNormal = 2, kPoisson = 3 };

// How the rows of a batch come to mask equally many frames.
enum class SameCount : int64_t { kNo = 0, kFewest = 1, kMost = 2 };

// fairseq's masked spans in rows of `length` frames. Outputs contiguous; writes one byte a frame.
struct FairseqSpanMask {
  Seed seed;
  Rows row_ids;
  int64_t rows, length;
  const int64_t* lengths;  // (rows): frames of each row before its padding, or null
  double mask_prob;
  int64_t mask_length, min_masks;
  SpanLength span_length;
  double mask_other;  // least length of kUniform, standard deviation of kNormal
  bool apart;         // spans do not overlap and keep min_space frames between them
  int64_t min_space;
  bool every_start;      // starts up to the last frame, where spans may overlap
  bool one_rounding;     // the rows round their numbers of spans by one draw
  SameCount same_count;  // then
  double mask_dropout;   // at last
  int64_t* scratch;      // (rows, scratch_numbers(p))
  bool* mask;            // (rows, length)
  int64_t* counts;       // (rows): frames that the spans cover
};

// Most spans of a row: those of a whole one, rounded up, as far as there are frames; a row may fall back to one.
inline int64_t span_capacity(const FairseqSpanMask& p) {
  const double whole = p.mask_prob * static_cast<double>(p.length) / static_cast<double>(p.mask_length) + 1.0;
  const double most = whole > static_cast<double>(p.min_masks) ? whole : static_cast<double>(p.min_masks);
  return most < static_cast<double>(p.length) ? static_cast<int64_t>(most) : p.length;
}

// Numbers beside a row's mask: lengths and starts of its spans, and both ends of the parts that spans apart leave.
inline int64_t scratch_numbers(const FairseqSpanMask& p) { return (p.apart ? 4 : 2) * (span_capacity(p) + 1); }

namespace cpu {
void fairseq_span_mask(const FairseqSpanMask& p, int threads);
}

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t fairseq_span_mask(const FairseqSpanMask& p, cudaStream_t stream);
}
#endif

}  // namespace sslfast
