// Waveforms, at most two launches, no host synchronisation, nothing atomic. Where ratios of powers may be asked for,
// one block sums the squares of each part of a waveform, and of its noise from the bank, in an order of their own. Then
// each block makes 16 K samples: one thread reads what happens to the row, every thread takes the four samples of one
// Philox counter a step. Noise is never in memory. Bytes: x read once, or twice where powers count, and written once.
// Backward, in sslfast/augment/audio_augment.py: out is linear in x but for the ratios of powers; white noise is drawn
// again.
#include <cuda_fp16.h>

#include <cub/block/block_reduce.cuh>

#include "element_types.cuh"
#include "shared/audio_augment_row.h"
#include "sslfast/audio_augment.h"

namespace sslfast::cuda {
namespace {

using audio::Factors;
using audio::Places;

constexpr int kThreads = 256;
constexpr int kSteps = 16;
constexpr int64_t kTile = 4 * kThreads * kSteps;  // samples of a block

__device__ void narrow(float x, float& out) { out = x; }
__device__ void narrow(double x, double& out) { out = x; }
__device__ void narrow(float x, Brain16& out) {
  const uint32_t bits = __float_as_uint(x), rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  out.bits = static_cast<uint16_t>(x != x ? 0x7FC0u : rounded);
}
__device__ void narrow(float x, Half16& out) { out.bits = __half_as_ushort(__float2half_rn(x)); }

template <typename In>
using Wide = decltype(widen(In{}));

__global__ void __launch_bounds__(kThreads) draw_rows(AudioAugmentParams p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r < p.rows) audio::row_params(p, p.seed.get(), r, p.out + r * kAudioColumns);
}

template <typename In>
__global__ void __launch_bounds__(kThreads) sum_squares(AudioAugment p) {
  using Reduce = cub::BlockReduce<double, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ Places s;
  const int64_t parts = audio_parts(p.length), part = blockIdx.x % parts, of = blockIdx.x / parts,
                r = of / (p.channels + 1), c = of % (p.channels + 1);
  if (threadIdx.x == 0) s = audio::places(p, r);
  __syncthreads();
  const bool bank = c == p.channels;
  if (bank && !(s.noisy && s.noise_row >= 0)) return;  // the whole block
  const int64_t first = part * kAudioPart, end = min(s.length, first + kAudioPart);
  const In* x = static_cast<const In*>(p.x) + r * p.row_stride + c * p.channel_stride;
  const In* noise = static_cast<const In*>(p.bank) + s.noise_row * p.bank_row_stride;
  int64_t at =
      bank ? (s.noise_start + first + threadIdx.x) % p.bank_length : 0;  // a remainder costs more than a sample
  const int64_t stride = bank ? kThreads % p.bank_length : 0;
  double sum = 0;
  for (int64_t t = first + threadIdx.x; t < end; t += kThreads) {
    const double value = bank ? widen(noise[at]) : widen(x[t * p.stride]);
    sum += value * value;
    at += stride;
    if (at >= p.bank_length) at -= p.bank_length;
  }
  sum = Reduce(storage).Sum(sum);
  if (threadIdx.x == 0) p.sums[blockIdx.x] = sum;
}

template <typename In>
__global__ void __launch_bounds__(kThreads) write_tiles(AudioAugment p, int64_t tiles) {
  __shared__ Places s;
  __shared__ Factors f;
  const int64_t row = blockIdx.x / tiles, base = blockIdx.x % tiles * kTile, r = row / p.channels, c = row % p.channels;
  if (threadIdx.x == 0) {
    s = audio::places(p, r);
    f = audio::factors(p, s, r, c);
  }
  __syncthreads();
  using W = Wide<In>;
  const W own_factor = static_cast<W>(f.own), other_factor = static_cast<W>(f.other),
          noise_factor = static_cast<W>(f.noise), gain = static_cast<W>(f.gain);
  const In* x = static_cast<const In*>(p.x) + r * p.row_stride + c * p.channel_stride;
  const In* other = static_cast<const In*>(p.x) + s.other * p.row_stride + c * p.channel_stride;
  const In* bank = static_cast<const In*>(p.bank) + s.noise_row * p.bank_row_stride;
  In* out = static_cast<In*>(p.out) + row * p.length;
  for (int step = 0; step < kSteps; ++step) {
    const int64_t four = base + static_cast<int64_t>(step * kThreads + threadIdx.x) * 4;
    if (four >= p.length) return;
    const bool banked = s.noisy && s.noise_row >= 0;
    int64_t at = banked ? (s.noise_start + four) % p.bank_length : 0;
    float white[4];
    if (s.noisy && !banked && four < s.length) {
      const Words w = philox(s.key, Stream::kAudioNoise, c, static_cast<uint32_t>(four / 4));
      const gaussian::Pair a = gaussian::normal_pair(w.word[0], w.word[1]);
      const gaussian::Pair b = gaussian::normal_pair(w.word[2], w.word[3]);
      white[0] = a.first, white[1] = a.second, white[2] = b.first, white[3] = b.second;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t t = four + k;
      if (t >= p.length) break;
      W value = 0;
      if (t < s.length) {
        int64_t from = t - s.shift;
        if (p.rollover && from < 0) from += s.length;
        if (from >= 0 && from < s.length) value = gaussian::mul(widen(x[from * p.stride]), own_factor);
        if (s.mixed && s.mix_first <= t && t < s.mix_end) {
          value = gaussian::add(value, gaussian::mul(widen(other[(t + s.mix_lead) * p.stride]), other_factor));
        }
        if (s.noisy) {
          const W noise = banked ? static_cast<W>(widen(bank[at])) : static_cast<W>(white[k]);
          value = gaussian::add(value, gaussian::mul(noise, noise_factor));
          if (++at == p.bank_length) at = 0;
        }
        value = gaussian::mul(value, gain);
      }
      narrow(value, out[t]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) draw_noise(AudioNoise p, int64_t tiles) {
  const int64_t row = blockIdx.x / tiles,
                four = (blockIdx.x % tiles * kThreads + static_cast<int64_t>(threadIdx.x)) * 4;
  if (four >= p.length) return;
  const double key = p.params[row / p.channels * kAudioColumns + kAudioNoiseKey];
  const Words w = philox(static_cast<uint64_t>(audio::clipped(key, 0, int64_t{1} << 53)), Stream::kAudioNoise,
                         row % p.channels, static_cast<uint32_t>(four / 4));
  const gaussian::Pair a = gaussian::normal_pair(w.word[0], w.word[1]);
  const gaussian::Pair b = gaussian::normal_pair(w.word[2], w.word[3]);
  const float white[4] = {a.first, a.second, b.first, b.second};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (four + k < p.length) p.out[row * p.length + four + k] = white[k];
  }
}

template <typename In>
cudaError_t run(const AudioAugment& p, cudaStream_t stream) {
  const int64_t rows = p.rows * p.channels, tiles = (p.length + kTile - 1) / kTile;
  const int64_t sums = p.rows * (p.channels + 1) * audio_parts(p.length);
  if (rows == 0 || p.length == 0) return cudaSuccess;
  if (rows * tiles > INT32_MAX || sums > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (p.powers) sum_squares<In><<<static_cast<unsigned>(sums), kThreads, 0, stream>>>(p);
  write_tiles<In><<<static_cast<unsigned>(rows * tiles), kThreads, 0, stream>>>(p, tiles);
  return cudaGetLastError();
}

}  // namespace

cudaError_t audio_augment_params(const AudioAugmentParams& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  const int64_t blocks = (p.rows + kThreads - 1) / kThreads;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_rows<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

cudaError_t audio_augment(const AudioAugment& p, cudaStream_t stream) {
  switch (p.dtype) {
    case Dtype::kFloat32:
      return run<float>(p, stream);
    case Dtype::kFloat64:
      return run<double>(p, stream);
    case Dtype::kBfloat16:
      return run<Brain16>(p, stream);
    default:
      return run<Half16>(p, stream);
  }
}

cudaError_t audio_noise(const AudioNoise& p, cudaStream_t stream) {
  const int64_t tiles = (p.length + 4 * kThreads - 1) / (4 * kThreads), blocks = p.rows * p.channels * tiles;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  draw_noise<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p, tiles);
  return cudaGetLastError();
}

}  // namespace sslfast::cuda
