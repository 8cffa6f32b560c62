// Masked spans, one block per row, no host synchronisation. All threads draw, one thread runs Floyd's algorithm over
// the row of cells in shared memory (rows above 32 KiB use the output itself), then every marked start writes its span:
// neighbours set the same bit of the same byte, so the order does not matter. Bytes: one written a frame.
#include "shared/time_span_rules.h"
#include "sslfast/time_span_mask.h"

namespace sslfast::cuda {
namespace {

using namespace time_span;

constexpr int kThreads = 128;
constexpr int64_t kSharedCells = 32 << 10;

__global__ void __launch_bounds__(kThreads) mask_rows(TimeSpanMask p, bool in_shared) {
  __shared__ uint32_t words[4 * kThreads];
  extern __shared__ uint8_t shared_cells[];
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get();
  bool* out = p.mask + r * p.length;
  uint8_t* cells = in_shared ? shared_cells : reinterpret_cast<uint8_t*>(out);
  const SpanPlan plan = plan_row(p, seed, r);
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) cells[t] = 0;
  for (int64_t base = 0; base < plan.spans; base += 4 * kThreads) {
    const Words w = philox(seed, Stream::kTimeSpanStart, p.row_ids[r], static_cast<uint32_t>(base / 4 + threadIdx.x));
    for (int k = 0; k < 4; ++k) words[4 * threadIdx.x + k] = w.word[k];
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = 0; i < 4 * kThreads && base + i < plan.spans; ++i) {
        pick_start(plan.starts, plan.spans, cells, words[i], base + i);
      }
    }
    __syncthreads();  // the words are drawn over, the cells are read
  }
  __syncthreads();
  for (int64_t t = threadIdx.x; t < plan.frames; t += kThreads) {
    if (!(cells[t] & kStart)) continue;
    for (int64_t i = t; i < t + p.mask_length; ++i) cells[i] |= kMasked;
  }
  __syncthreads();
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) {
    out[t] = (cells[t] & kMasked) || (plan.marks_padding && t == p.length - 1);
  }
}

}  // namespace

cudaError_t time_span_mask(const TimeSpanMask& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  const bool in_shared = p.length <= kSharedCells;
  const unsigned blocks = static_cast<unsigned>(p.rows);
  mask_rows<<<blocks, kThreads, in_shared ? static_cast<size_t>(p.length) : 0, stream>>>(p, in_shared);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
