// Means of spectrograms, no host synchronisation: launch 1 sums every line of frames, a warp each, launch 2 the lines
// of every spectrogram, a warp each, and divides; where the mean is of the batch, launch 3 sums and divides instead.
// Bytes: every cell before the padding read once, and a sum a line written and read.
#include "packs.cuh"
#include "shared/spec_line_sum.h"
#include "sslfast/spec_mean.h"

namespace sslfast::cuda {
namespace {

using spec::frames_of;
using spec::line_sum;
using spec::mean_of;

constexpr int kWarps = 8, kThreads = 32 * kWarps;

template <typename Element>
__global__ void __launch_bounds__(kThreads) sum_lines(SpecMean p) {
  using T = Wide<Element>;
  const int64_t line = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32, row = line / p.bins,
                r = row / p.channels;
  if (r >= p.rows) return;
  const auto* from = static_cast<const Element*>(p.spec) + r * p.row_stride + row % p.channels * p.channel_stride +
                     line % p.bins * p.bin_stride;
  const T sum = line_sum<1, T>(threadIdx.x % 32, frames_of(p, r),
                               [=](int64_t t) { return static_cast<T>(from[t * p.frame_stride]); });
  if (threadIdx.x % 32 == 0) static_cast<T*>(p.sums)[line] = sum;
}

template <typename Element>
__global__ void __launch_bounds__(kThreads) sum_spectrograms(SpecMean p) {
  using T = Wide<Element>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32, rows = p.rows * p.channels;
  if (row >= rows) return;
  T* sums = static_cast<T*>(p.sums);
  const T* lines = sums + row * p.bins;
  const T sum = line_sum<1, T>(threadIdx.x % 32, p.bins, [=](int64_t b) { return lines[b]; });
  if (threadIdx.x % 32 != 0) return;
  if (p.whole_batch) {
    sums[rows * p.bins + row] = sum;
  } else {
    static_cast<Element*>(p.means)[row] = static_cast<Element>(mean_of(sum, frames_of(p, row / p.channels) * p.bins));
  }
}

template <typename Element>
__global__ void __launch_bounds__(kThreads) sum_batch(SpecMean p) {
  using T = Wide<Element>;
  const int lane = threadIdx.x % 32;  // every warp sums all
  const int64_t rows = p.rows * p.channels;
  const T* sums = static_cast<const T*>(p.sums) + rows * p.bins;
  const T sum = line_sum<1, T>(lane, rows, [=](int64_t row) { return sums[row]; });
  const int64_t frames = line_sum<1, int64_t>(lane, p.rows, [=](int64_t r) { return frames_of(p, r); });
  const auto mean = static_cast<Element>(mean_of(sum, frames * p.channels * p.bins));
  for (int64_t row = threadIdx.x; row < rows; row += kThreads) static_cast<Element*>(p.means)[row] = mean;
}

}  // namespace

cudaError_t spec_mean(const SpecMean& p, cudaStream_t stream) {
  const int64_t rows = p.rows * p.channels, line_blocks = (rows * p.bins + kWarps - 1) / kWarps;
  if (rows == 0) return cudaSuccess;
  if (line_blocks > INT32_MAX || rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  by_dtype(p.dtype, [&](auto element) {
    using Element = decltype(element);
    if (p.bins) sum_lines<Element><<<static_cast<unsigned>(line_blocks), kThreads, 0, stream>>>(p);
    sum_spectrograms<Element><<<static_cast<unsigned>((rows + kWarps - 1) / kWarps), kThreads, 0, stream>>>(p);
    if (p.whole_batch) sum_batch<Element><<<1, kThreads, 0, stream>>>(p);
  });
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
