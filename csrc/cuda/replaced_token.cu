// Losses of tokens that may have been replaced: one launch for the losses, a second that adds up their sums in an order
// that does not vary; the tokens are counted in the same pass, and the host waits for nothing. Neither the tokens are
// gathered nor the labels widened: with logits of e bytes and labels and mask of one, (e + 2) N L bytes are read. The
// gradient, weight * sign * sigmoid(sign * logit), takes a launch of its own, for which the share is known:
// (2 e + 2) N L bytes.
#include "../shared/replaced_token_score.h"
#include "block_sum.cuh"
#include "packs.cuh"
#include "sslfast/replaced_token.h"

namespace sslfast::cuda {
namespace {

constexpr int kThreads = 256;

template <typename Number>
__device__ Number number_at(const TokenNumbers& numbers, int64_t row, int64_t place) {
  return static_cast<const Number*>(numbers.data)[row * numbers.row_stride + place * numbers.stride];
}

__device__ bool is_token(const TokenNumbers& mask, int64_t row, int64_t place) {
  if (!mask.data) return true;
  switch (mask.type) {
    case NumberType::kInt8:
      return number_at<uint8_t>(mask, row, place) != 0;
    case NumberType::kInt16:
      return number_at<uint16_t>(mask, row, place) != 0;
    case NumberType::kInt32:
      return number_at<uint32_t>(mask, row, place) != 0;
    default:
      return number_at<uint64_t>(mask, row, place) != 0;
  }
}

__device__ float sign_at(const TokenNumbers& labels, int64_t row, int64_t place) {
  switch (labels.type) {
    case NumberType::kInt8:
      return replaced::sign_of(number_at<uint8_t>(labels, row, place));
    case NumberType::kInt16:
      return replaced::sign_of(number_at<uint16_t>(labels, row, place));
    case NumberType::kInt32:
      return replaced::sign_of(number_at<uint32_t>(labels, row, place));
    case NumberType::kInt64:
      return replaced::sign_of(number_at<uint64_t>(labels, row, place));
    case NumberType::kFloat32:
      return replaced::sign_of(number_at<float>(labels, row, place));
    case NumberType::kFloat64:
      return replaced::sign_of(number_at<double>(labels, row, place));
    case NumberType::kBfloat16:
      return replaced::sign_of(static_cast<float>(number_at<__nv_bfloat16>(labels, row, place)));
    default:
      return replaced::sign_of(static_cast<float>(number_at<__half>(labels, row, place)));
  }
}

// Calls one(i, row, place) for the tokens of this thread: neighbouring threads have neighbours. Where everything lies
// in one line there is one row.
template <typename One>
__device__ void each_token(const ReplacedToken& p, One one) {
  const int64_t places = p.rows * p.length, step = static_cast<int64_t>(gridDim.x) * kTokensPerSum;
  for (int64_t first = blockIdx.x * kTokensPerSum; first < places; first += step) {
#pragma unroll 4
    for (int k = 0; k < kTokensPerSum / kThreads; ++k) {
      const int64_t i = first + k * kThreads + threadIdx.x;
      if (i >= places) break;
      const int64_t row = p.rows == 1 ? 0 : i / p.length;
      one(i, row, i - row * p.length);
    }
  }
}

template <typename Element>
__global__ void __launch_bounds__(kThreads) score_tokens(ReplacedToken p) {
  using T = Wide<Element>;
  const auto* logits = static_cast<const Element*>(p.logits);
  T sum = 0;
  int64_t tokens = 0;
  each_token(p, [&](int64_t i, int64_t row, int64_t place) {
    T loss = 0;
    if (is_token(p.attention_mask, row, place)) {
      const T z = static_cast<T>(sign_at(p.replaced, row, place)) *
                  static_cast<T>(logits[row * p.row_stride + place * p.stride]);
      loss = replaced::loss_of(z, log1p(exp(z < T(0) ? z : -z)));
      sum += loss;
      ++tokens;
    }
    if (p.losses) static_cast<T*>(p.losses)[i] = loss;
  });
  if (!p.total) return;
  sum = block_sum<kThreads>(sum);
  tokens = block_sum<kThreads>(tokens);
  if (threadIdx.x != 0) return;
  p.partial[blockIdx.x] = sum;
  p.counts[blockIdx.x] = tokens;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) add_sums(ReplacedToken p, int sums) {
  double sum = 0;
  int64_t tokens = 0;
  for (int s = threadIdx.x; s < sums; s += kThreads) {
    sum += p.partial[s];
    tokens += p.counts[s];
  }
  sum = block_sum<kThreads>(sum);
  tokens = block_sum<kThreads>(tokens);
  if (threadIdx.x != 0) return;
  const double share = replaced::share_of<T>(p, tokens);
  *static_cast<T*>(p.total) = static_cast<T>(sum * share);
  *static_cast<T*>(p.share) = static_cast<T>(share);
}

template <typename Element>
__global__ void __launch_bounds__(kThreads) write_slopes(ReplacedToken p) {
  using T = Wide<Element>;
  const auto* logits = static_cast<const Element*>(p.logits);
  const T* weights = static_cast<const T*>(p.weights);
  each_token(p, [&](int64_t i, int64_t row, int64_t place) {
    T slope = 0;
    if (is_token(p.attention_mask, row, place)) {
      const T sign = static_cast<T>(sign_at(p.replaced, row, place));
      const T z = sign * static_cast<T>(logits[row * p.row_stride + place * p.stride]);
      slope = replaced::slope_of(sign, z, exp(z < T(0) ? z : -z)) *
              weights[row * p.weight_row_stride + place * p.weight_stride];
    }
    static_cast<Element*>(p.grad)[i] = static_cast<Element>(slope);
  });
}

template <typename Element>
void launch(ReplacedToken p, cudaStream_t stream) {
  const int sums = static_cast<int>(partial_sums(p.rows * p.length));
  if ((p.losses || p.total) && sums) score_tokens<Element><<<sums, kThreads, 0, stream>>>(p);
  if (p.total) add_sums<Wide<Element>><<<1, kThreads, 0, stream>>>(p, sums);
  if (!p.grad || sums == 0) return;
  if (!p.weights) p.weights = p.share;
  write_slopes<Element><<<sums, kThreads, 0, stream>>>(p);
}

}  // namespace

cudaError_t replaced_token(const ReplacedToken& p, cudaStream_t stream) {
  by_dtype(p.dtype, [&](auto element) { launch<decltype(element)>(p, stream); });
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
