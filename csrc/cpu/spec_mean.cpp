// Line by line of frames, 32 lanes at once; what is left, one number a line, is a few.
#include "sslfast/spec_mean.h"

#include <algorithm>
#include <cstring>

#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"
#include "shared/spec_line_sum.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kCellsPerThread = 64 << 10;

// The lines of `bins` bins, `stride` elements apart; `sums` gets one number each.
template <typename Element, typename T>
inline __attribute__((always_inline)) void sum_bins(const Element* from, int64_t stride, int64_t frame_stride,
                                                    int64_t bins, int64_t n, T* sums) {
  int64_t b = 0;
  if (frame_stride == 1) {
    for (; b < bins; ++b, from += stride) {
      sums[b] = spec::line_sum<spec::kLanes, T>(
          0, n, [=](int64_t t) __attribute__((always_inline)) { return widen(from[t]); });
    }
    return;
  }
  if (stride == 1) {  // frames lie one after another: a vector has as many bins, and each its lane of every bin
    using Together = typename SumLanes<T>::Type;
    constexpr int64_t kTogether = sizeof(Together) / sizeof(T);
    for (; b + kTogether <= bins; b += kTogether, from += kTogether) {
      const Together sum = spec::line_sum<spec::kLanes, Together>(0, n, [=](int64_t t) __attribute__((always_inline)) {
        Together cells;
        for (int64_t k = 0; k < kTogether; ++k) cells[k] = widen(from[t * frame_stride + k]);
        return cells;
      });
      std::memcpy(sums + b, &sum, sizeof sum);
    }
  }
  for (; b < bins; ++b, from += stride) {
    sums[b] = spec::line_sum<spec::kLanes, T>(
        0, n, [=](int64_t t) __attribute__((always_inline)) { return widen(from[t * frame_stride]); });
  }
}

template <typename Element>
inline __attribute__((always_inline)) void sum_body(const SpecMean& p, int64_t first, int64_t end) {
  for (int64_t line = first, bins; line < end; line += bins) {
    const int64_t row = line / p.bins, b = line % p.bins, r = row / p.channels;
    const auto* from =
        static_cast<const Element*>(p.spec) + r * p.row_stride + row % p.channels * p.channel_stride + b * p.bin_stride;
    bins = std::min(p.bins - b, end - line);
    sum_bins(from, p.bin_stride, p.frame_stride, bins, spec::frames_of(p, r),
             static_cast<Wide<Element>*>(p.sums) + line);
  }
}

SSLFAST_ISA_CLONES void sum_lines(const SpecMean& p, int64_t first, int64_t end) {
  switch (p.dtype) {
    case Dtype::kFloat32:
      return sum_body<float>(p, first, end);
    case Dtype::kFloat64:
      return sum_body<double>(p, first, end);
    case Dtype::kBfloat16:
      return sum_body<Brain16>(p, first, end);
    case Dtype::kFloat16:
      return sum_body<Half16>(p, first, end);
  }
}

template <typename Element>
void divide_sums(const SpecMean& p) {
  using T = Wide<Element>;
  const int64_t rows = p.rows * p.channels;
  const T* lines = static_cast<const T*>(p.sums);
  T* sums = static_cast<T*>(p.sums) + rows * p.bins;
  auto* means = static_cast<Element*>(p.means);
  for (int64_t row = 0; row < rows; ++row, lines += p.bins) {
    sums[row] = spec::line_sum<spec::kLanes, T>(0, p.bins, [=](int64_t b) { return lines[b]; });
    if (!p.whole_batch) narrow(spec::mean_of(sums[row], spec::frames_of(p, row / p.channels) * p.bins), means[row]);
  }
  if (!p.whole_batch || rows == 0) return;
  int64_t frames = 0;
  for (int64_t r = 0; r < p.rows; ++r) frames += spec::frames_of(p, r);
  const T sum = spec::line_sum<spec::kLanes, T>(0, rows, [=](int64_t row) { return sums[row]; });
  narrow(spec::mean_of(sum, frames * p.channels * p.bins), means[0]);
  std::fill(means + 1, means + rows, means[0]);
}

}  // namespace

void spec_mean(const SpecMean& p, int threads) {
  const int64_t lines = p.rows * p.channels * p.bins;
  threads = static_cast<int>(std::clamp<int64_t>(lines * p.frames / kCellsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int t = 0; t < threads; ++t) sum_lines(p, lines * t / threads, lines * (t + 1) / threads);
  by_dtype(p.dtype, [&](auto element) { divide_sums<decltype(element)>(p); });
}

}  // namespace sslfast::cpu
