// Cross-entropy against named rows of a table: nothing that is gathered is stored, and no sum is atomic.
//
// Launch 1, a block a loss, a warp a logit: the warp reads the row of the table where it lies, for the product, for its
// norm and for the comparison with the right row at once; the block takes the softmax, writes the derivatives in the
// logits, and reads the rows of the table again, from L2, for the gradient of its own row. Then the terms are sorted by
// the row of the table (stable, so that sums keep one order), and in launch 3 a block a row of the table finds its
// terms by bisection and sums the rows of its losses. Gradient of a logit: softmax - right; through the norm
// (g - <g, u> u) / |x|, without the projection where |x| < 1e-12. Bytes: the named rows once from memory and 2 K times
// from L2, 4 a logit and 16 for sorting it, the gradients once.
#include <cub/device/device_radix_sort.cuh>

#include "packs.cuh"
#include "sslfast/sampled_softmax.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr unsigned kAll = 0xFFFFFFFFu;

__device__ float warp_sum(float x) {
  for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(kAll, x, half);
  return x;
}

__device__ float warp_max(float x) {
  for (int half = 16; half > 0; half /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, half));
  return x;
}

// Of one number a thread, known to all; `shared` has a number a warp.
template <bool kMax>
__device__ float block_fold(float x, float* shared) {
  x = kMax ? warp_max(x) : warp_sum(x);
  __syncthreads();  // what was there has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float all = shared[0];
  for (int w = 1; w < kWarps; ++w) all = kMax ? fmaxf(all, shared[w]) : all + shared[w];
  return all;
}

__device__ float inverse_of(float square) {
  const float norm = sqrtf(square);
  return 1.0f / (norm < static_cast<float>(kLeastCosineNorm) ? static_cast<float>(kLeastCosineNorm) : norm);
}

// grad, of the unit vector of x, becomes that of x; by a block, each thread on the numbers that it wrote.
template <typename In>
__device__ void through_norm(const In* x, int64_t width, float factor, float* grad, float* shared) {
  float along = 0;
  for (int64_t d = threadIdx.x; d < width; d += kThreads) along += grad[d] * static_cast<float>(x[d]);
  along = block_fold<false>(along, shared) * factor * factor;
  if (!(factor < static_cast<float>(1 / kLeastCosineNorm))) along = 0;
  for (int64_t d = threadIdx.x; d < width; d += kThreads)
    grad[d] = (grad[d] - along * static_cast<float>(x[d])) * factor;
}

__device__ bool is_none(int64_t index, int64_t positive) { return index == -1 || positive == -1; }

template <typename In>
__global__ void __launch_bounds__(kThreads) score_rows(SampledSoftmax p) {
  __shared__ float shared[kWarps];
  const int64_t r = blockIdx.x, columns = p.negatives + 1, index = p.index[r], positive = p.positives[r];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* z = static_cast<float*>(p.terms) + r * columns;
  auto* losses = static_cast<float*>(p.losses);
  const bool none = is_none(index, positive);
  const int32_t* candidates = p.candidates + (p.candidates_of_rows && !none ? index : r) * p.negatives;
  int outside = !none && (index < 0 || index >= p.row_count || positive < 0 || positive >= p.table_rows);
  if (!none && !outside) {
    for (int64_t k = threadIdx.x; k < p.negatives; k += kThreads) {
      outside |= candidates[k] < 0 || candidates[k] >= p.table_rows;
    }
  }
  outside = __syncthreads_or(outside);
  if (none || outside) {
    if (threadIdx.x == 0) losses[r] = none ? 0.0f : __int_as_float(0x7FC00000);
    for (int64_t k = threadIdx.x; p.keys && k < columns; k += kThreads) {
      p.keys[r * columns + k] = static_cast<int32_t>(p.table_rows);
      p.entries[r * columns + k] = static_cast<int32_t>(r * columns + k);
    }
    return;
  }
  const In* x = static_cast<const In*>(p.rows) + index * p.row_stride;
  const In* table = static_cast<const In*>(p.table);
  const In* right_row = table + positive * p.table_stride;
  auto* inverse_norm = static_cast<float*>(p.inverse_norm);
  float factor = 1.0f;
  if (p.cosine) {
    float square = 0;
    for (int64_t d = lane; d < p.width; d += 32) square += static_cast<float>(x[d]) * static_cast<float>(x[d]);
    factor = inverse_of(warp_sum(square));
  }
  for (int64_t k = warp; k < columns; k += kWarps) {
    const int64_t j = k == 0 ? positive : candidates[k - 1];
    const In* y = table + j * p.table_stride;
    float dot = 0, square = 0;
    bool same = true;
    for (int64_t d = lane; d < p.width; d += 32) {
      const float value = static_cast<float>(y[d]);
      dot += static_cast<float>(x[d]) * value;
      square += value * value;
      if (p.twins == Twins::kSameValues) same &= value == static_cast<float>(right_row[d]);
    }
    dot = warp_sum(dot) * static_cast<float>(p.scale) * factor;
    if (p.twins == Twins::kSameValues) {
      same = __all_sync(kAll, same);
    } else {
      for (int64_t g = 0; g < p.code_width; ++g) {
        same &= p.codes[j * p.code_width + g] == p.codes[positive * p.code_width + g];
      }
      same &= p.twins == Twins::kSameCodes;
    }
    if (p.cosine) {
      const float inverse = inverse_of(warp_sum(square));
      dot *= inverse;
      if (lane == 0) inverse_norm[j] = inverse;  // of all that write it, the same number
    }
    if (p.offsets) dot += static_cast<const float*>(p.offsets)[j];
    if (k > 0) {
      dot -= static_cast<float>(p.shift);
      if (p.corrections) dot -= static_cast<const float*>(p.corrections)[j];
      if (same || j == positive) dot = __int_as_float(0xFF800000);
    }
    if (lane == 0) z[k] = dot;
  }
  __syncthreads();
  const float right = z[0];
  float best = __int_as_float(0xFF800000), sum = 0;
  for (int64_t k = 1 + threadIdx.x; k < columns; k += kThreads) best = fmaxf(best, z[k]);
  best = block_fold<true>(best, shared);
  const float top = best <= right ? right : best, own = expf(right - top);
  for (int64_t k = 1 + threadIdx.x; k < columns; k += kThreads) {
    z[k] = expf(z[k] - top);
    sum += z[k];
  }
  sum = block_fold<false>(sum, shared);
  const float share = (p.weights ? static_cast<const float*>(p.weights)[r] : 1.0f) / (sum + own);
  for (int64_t k = 1 + threadIdx.x; k < columns; k += kThreads) z[k] *= share;
  if (threadIdx.x == 0) {
    losses[r] = best <= right ? log1pf(sum) : logf(sum + own) + (top - right);
    z[0] = -sum * share;
  }
  __syncthreads();
  for (int64_t k = threadIdx.x; p.keys && k < columns; k += kThreads) {
    const int64_t j = k == 0 ? positive : candidates[k - 1];
    p.keys[r * columns + k] = static_cast<int32_t>(z[k] != 0.0f ? j : p.table_rows);
    p.entries[r * columns + k] = static_cast<int32_t>(r * columns + k);
  }
  if (!p.d_rows) return;
  float* grad = static_cast<float*>(p.d_rows) + index * p.width;
  for (int64_t d = threadIdx.x; d < p.width; d += kThreads) {
    float mixed = 0;
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t j = k == 0 ? positive : candidates[k - 1];
      const float weight = z[k] * (p.cosine ? inverse_norm[j] : 1.0f);
      mixed += weight * static_cast<float>(table[j * p.table_stride + d]);
    }
    grad[d] = mixed * static_cast<float>(p.scale);
  }
  if (p.cosine) through_norm(x, p.width, factor, grad, shared);
}

// The first place of sorted keys that is not below `key`.
__device__ int64_t lower_bound(const int32_t* keys, int64_t n, int64_t key) {
  int64_t low = 0;
  for (int64_t high = n; low < high;) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <typename In>
__global__ void __launch_bounds__(kThreads) table_rows(SampledSoftmax p, int64_t terms) {
  __shared__ float shared[kWarps];
  __shared__ float factors[kThreads];
  __shared__ int64_t from[kThreads];
  __shared__ int64_t ends[2];
  const int64_t j = blockIdx.x, columns = p.negatives + 1;
  if (threadIdx.x < 2) ends[threadIdx.x] = lower_bound(p.sorted_keys, terms, j + threadIdx.x);
  __syncthreads();
  const int64_t begin = ends[0], end = ends[1];
  const In* rows = static_cast<const In*>(p.rows);
  float* grad = p.d_table ? static_cast<float*>(p.d_table) + j * p.width : nullptr;
  for (int64_t d = threadIdx.x; grad && d < p.width; d += kThreads) grad[d] = 0.0f;
  float total = 0;
  for (int64_t first = begin; first < end; first += kThreads) {
    const int64_t count = min(end - first, static_cast<int64_t>(kThreads));
    __syncthreads();  // the list is read
    if (threadIdx.x < count) {
      const int64_t entry = p.sorted_entries[first + threadIdx.x];
      const float term = static_cast<const float*>(p.terms)[entry];
      factors[threadIdx.x] = term * static_cast<float>(p.scale);
      from[threadIdx.x] = p.index[entry / columns];
      total += term;
    }
    __syncthreads();
    if (!grad) continue;
    if (p.cosine) {  // a warp a row finds its norm
      const int lane = threadIdx.x % 32;
      for (int64_t i = threadIdx.x / 32; i < count; i += kWarps) {
        const In* x = rows + from[i] * p.row_stride;
        float square = 0;
        for (int64_t d = lane; d < p.width; d += 32) square += static_cast<float>(x[d]) * static_cast<float>(x[d]);
        square = warp_sum(square);
        if (lane == 0) factors[i] *= inverse_of(square);
      }
      __syncthreads();
    }
    for (int64_t d = threadIdx.x; d < p.width; d += kThreads) {
      float mixed = grad[d];
      for (int64_t i = 0; i < count; ++i) mixed += factors[i] * static_cast<float>(rows[from[i] * p.row_stride + d]);
      grad[d] = mixed;
    }
  }
  if (p.d_offsets) {
    total = block_fold<false>(total, shared);
    if (threadIdx.x == 0) static_cast<float*>(p.d_offsets)[j] = total;
  }
  if (grad && p.cosine && begin < end) {
    through_norm(static_cast<const In*>(p.table) + j * p.table_stride, p.width,
                 static_cast<const float*>(p.inverse_norm)[j], grad, shared);
  }
}

int key_bits(int64_t table_rows) {
  int bits = 1;
  while (table_rows >> bits) ++bits;
  return bits;
}

template <typename In>
cudaError_t run(const SampledSoftmax& p, cudaStream_t stream) {
  if (p.d_rows) {
    const cudaError_t error = cudaMemsetAsync(p.d_rows, 0, p.row_count * p.width * sizeof(float), stream);
    if (error != cudaSuccess) return error;
  }
  if (p.losses_count > INT32_MAX) return cudaErrorInvalidConfiguration;
  const int64_t terms = p.losses_count * (p.negatives + 1);
  if (p.losses_count > 0) score_rows<In><<<static_cast<unsigned>(p.losses_count), kThreads, 0, stream>>>(p);
  if (!p.keys) return cudaGetLastError();
  size_t bytes = static_cast<size_t>(p.sort_bytes);
  if (terms > 0) {
    const cudaError_t error =
        cub::DeviceRadixSort::SortPairs(p.sort_memory, bytes, p.keys, p.sorted_keys, p.entries, p.sorted_entries,
                                        static_cast<int>(terms), 0, key_bits(p.table_rows), stream);
    if (error != cudaSuccess) return error;
  }
  if (p.table_rows > 0) table_rows<In><<<static_cast<unsigned>(p.table_rows), kThreads, 0, stream>>>(p, terms);
  return cudaGetLastError();
}

}  // namespace

cudaError_t sampled_softmax_sort_bytes(int64_t terms, int64_t table_rows, int64_t* bytes) {
  size_t needed = 0;
  int32_t* none = nullptr;
  const cudaError_t error = cub::DeviceRadixSort::SortPairs(nullptr, needed, none, none, none, none,
                                                            static_cast<int>(terms), 0, key_bits(table_rows));
  *bytes = static_cast<int64_t>(needed);
  return error;
}

cudaError_t sampled_softmax(const SampledSoftmax& p, cudaStream_t stream) {
  switch (p.dtype) {
    case Dtype::kFloat32:
      return run<float>(p, stream);
    case Dtype::kBfloat16:
      return run<__nv_bfloat16>(p, stream);
    case Dtype::kFloat16:
      return run<__half>(p, stream);
    default:
      return cudaErrorInvalidValue;  // float64 is for the CPU
  }
}

}  // namespace sslfast::cuda
