// XLNet's masking, one block per row, one launch, no host synchronisation, nothing atomic.
// One warp sets the spans (one in about 18 tokens, 32 at once), all threads find the order by counting the (word,
// place) pairs below their own, with the words drawn again tile by tile, and all write who sees whom. Counting costs as
// much as that writing and needs no memory, so rows may be of any length. Bytes: length^2 elements written a row.
#include "../shared/permutation_spans.h"
#include "sslfast/permutation_mask.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 1024;  // words in shared memory at a time

template <typename Id, typename Out>
__global__ void __launch_bounds__(kThreads) mask_rows(PermutationMask<Id, Out> p) {
  __shared__ uint32_t words[kTile];
  const int64_t r = blockIdx.x;
  const uint64_t seed = p.seed.get(), row = p.row_ids[r];
  bool* mask = p.mask + r * p.length;
  int64_t* order = p.order + r * p.length;
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) mask[t] = false;
  __syncthreads();
  if (threadIdx.x < 32) {
    const Lanes lanes{static_cast<int>(threadIdx.x), 32};
    permutation::set_spans(p, r, seed, row, permutation::token_range(p, r, lanes), mask, lanes);
  }
  __syncthreads();

  const int64_t ordered = p.compat ? p.length / 2 : p.length;
  for (int64_t base = 0; base < ordered; base += kThreads) {  // all threads take every step: tiles are shared
    const int64_t mine = base + threadIdx.x;
    const Words w = philox(seed, Stream::kPermutationOrder, row, static_cast<uint32_t>(mine / 4));
    uint32_t word = w.word[0];
    for (int k = 1; k < 4; ++k) word = mine % 4 == k ? w.word[k] : word;  // an index would go through memory
    int64_t place = 0;
    for (int64_t first = 0; first < ordered; first += kTile) {
      __syncthreads();  // the tile is used again
      for (int i = threadIdx.x * 4; i < kTile; i += kThreads * 4) {
        const Words their = philox(seed, Stream::kPermutationOrder, row, static_cast<uint32_t>((first + i) / 4));
        for (int k = 0; k < 4; ++k) words[i + k] = their.word[k];
      }
      __syncthreads();
      const int n = static_cast<int>(min(static_cast<int64_t>(kTile), ordered - first));
      for (int i = 0; i < n; ++i) place += words[i] < word || (words[i] == word && first + i < mine);
    }
    if (mine >= ordered) continue;
    order[mine] = permutation::is_context(p, r, mine, mask[mine]) ? -1 : place;
    if (!p.compat) continue;
    const int64_t other = ordered + mine;
    order[other] = permutation::is_context(p, r, other, mask[other]) ? -1 : ordered + place;
  }
  __syncthreads();
  for (int64_t t = threadIdx.x; t < p.length; t += kThreads) {
    const int64_t at = r * p.length + t;
    const Id id = p.ids[r * p.ids_row_stride + t * p.ids_stride];
    p.masked_ids[at] = mask[t] ? p.mask_token_id : id;
    p.labels[at] = mask[t] ? id : p.ignore_index;
  }
  Out* out = p.perm_mask + r * p.length * p.length;
  for (int64_t j = threadIdx.x; j < p.length; j += kThreads) {
    const int64_t hidden = mask[j] ? order[j] : -2;
    for (int64_t i = 0; i < p.length; ++i) out[i * p.length + j] = static_cast<Out>(order[i] <= hidden);
  }
}

template <typename Id, typename Out>
cudaError_t run(const PermutationMask<Id, Out>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.length == 0) return cudaSuccess;
  if (p.rows > INT32_MAX) return cudaErrorInvalidConfiguration;
  mask_rows<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

cudaError_t permutation_mask(const PermutationMask<int32_t, bool>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t permutation_mask(const PermutationMask<int32_t, float>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t permutation_mask(const PermutationMask<int64_t, bool>& p, cudaStream_t stream) { return run(p, stream); }
cudaError_t permutation_mask(const PermutationMask<int64_t, float>& p, cudaStream_t stream) { return run(p, stream); }

}  // namespace sslfast::cuda
