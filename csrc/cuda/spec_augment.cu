// SpecAugment, one launch, no host synchronisation, one block per bin of a spectrogram. Each block draws the few
// intervals of its spectrogram again instead of reading them; the block of bin 0 stores them for the backward, which is
// the same fill with zeros. Bytes: every cell read and written once; in place, the masked cells written once.
#include "shared/spec_interval.h"
#include "sslfast/spec_augment.h"

namespace sslfast::cuda {
namespace {

using spec::Interval;

constexpr int kThreads = 256;

template <typename Element>
__global__ void __launch_bounds__(kThreads) fill_lines(SpecIntervals draw, SpecFill p, bool drawn) {
  __shared__ Interval intervals[2 * kMostSpecMasks];
  const int masks = static_cast<int>(p.bin_masks + p.frame_masks);
  const int64_t row = blockIdx.x / p.bins, b = blockIdx.x - row * p.bins, r = row / p.channels,
                c = row - r * p.channels;
  if (threadIdx.x < masks) {
    auto* stored = reinterpret_cast<Interval*>(p.intervals) + row * masks + threadIdx.x;
    if (drawn) {
      intervals[threadIdx.x] = *stored;
    } else {
      intervals[threadIdx.x] = spec::draw_interval(draw, draw.seed.get(), r, c, threadIdx.x, p.bins, p.frames);
      if (b == 0) *stored = intervals[threadIdx.x];
    }
  }
  __syncthreads();
  const auto* from =
      static_cast<const Element*>(p.from) + r * p.from_row_stride + c * p.from_channel_stride + b * p.from_bin_stride;
  auto* to = static_cast<Element*>(p.to) + r * p.to_row_stride + c * p.to_channel_stride + b * p.to_bin_stride;
  const Element value = p.values ? static_cast<const Element*>(p.values)[row] : static_cast<Element>(p.constant);
  int64_t whole = 0;  // frames that are masked because the bin is
  for (int m = 0; m < p.bin_masks; ++m) {
    if (intervals[m].first <= b && b < intervals[m].end) whole = intervals[m].frames;
  }
  if (p.from == p.to) {
    for (int64_t t = threadIdx.x; t < whole; t += kThreads) to[t * p.to_frame_stride] = value;
    for (int m = static_cast<int>(p.bin_masks); m < masks && whole == 0; ++m) {
      for (int64_t t = intervals[m].first + static_cast<int64_t>(threadIdx.x); t < intervals[m].end; t += kThreads) {
        to[t * p.to_frame_stride] = value;
      }
    }
    return;
  }
  for (int64_t t = threadIdx.x; t < p.frames; t += kThreads) {
    bool masked = t < whole;
    for (int m = static_cast<int>(p.bin_masks); m < masks; ++m) {
      masked = masked || (intervals[m].first <= t && t < intervals[m].end);
    }
    to[t * p.to_frame_stride] = masked ? value : from[t * p.from_frame_stride];
  }
}

cudaError_t run(const SpecIntervals& draw, const SpecFill& p, bool drawn, cudaStream_t stream) {
  const int64_t blocks = p.rows * p.channels * p.bins;
  if (blocks == 0 || p.frames == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const unsigned grid = static_cast<unsigned>(blocks);
  if (p.element_size == 2) {
    fill_lines<uint16_t><<<grid, kThreads, 0, stream>>>(draw, p, drawn);
  } else if (p.element_size == 4) {
    fill_lines<uint32_t><<<grid, kThreads, 0, stream>>>(draw, p, drawn);
  } else {
    fill_lines<uint64_t><<<grid, kThreads, 0, stream>>>(draw, p, drawn);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t spec_augment(const SpecAugment& p, cudaStream_t stream) { return run(p.draw, p.fill, false, stream); }
cudaError_t spec_fill(const SpecFill& p, cudaStream_t stream) { return run(SpecIntervals{}, p, true, stream); }

}  // namespace sslfast::cuda
