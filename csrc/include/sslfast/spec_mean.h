#pragma once

#include "sslfast/dtype.h"
#include "sslfast/launch.h"

namespace sslfast {

// The mean of the cells of each spectrogram (rows, channels, bins, frames) that come before its row's padding, which is
// not read; 0 of none. Strides in elements.
struct SpecMean {
  const void* spec;
  Dtype dtype;
  int64_t rows, channels, bins, frames;
  int64_t row_stride, channel_stride, bin_stride, frame_stride;
  const int64_t* lengths;  // (rows): frames before the padding, cut to [0, frames]; or null, all
  bool whole_batch;        // one mean of all rows and channels
  void* sums;   // scratch of the type of sums: (rows, channels, bins) of lines, then (rows, channels) of spectrograms
  void* means;  // (rows, channels), of the type of spec
};

namespace cpu {
void spec_mean(const SpecMean& p, int threads);
}  // namespace cpu

#ifdef SSLFAST_WITH_CUDA
namespace cuda {
cudaError_t spec_mean(const SpecMean& p, cudaStream_t stream);
}  // namespace cuda
#endif

}  // namespace sslfast
