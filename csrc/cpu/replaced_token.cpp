// A block of tokens at a time, in buffers that stay in the first cache: label and mask become the sign of the logit,
// whatever their types, so that losses and derivatives are one loop over neighbours.
#include "sslfast/replaced_token.h"

#include <cmath>

#include "../shared/replaced_token_score.h"
#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"
#include "vector_exp.h"
#include "vector_log1p.h"

namespace sslfast::cpu {
namespace {

constexpr int64_t kTokensPerThread = 16 << 10;

// Calls part(offset, done, count) for the n tokens from `first` in stretches whose neighbours are `stride` apart.
template <typename Part>
inline __attribute__((always_inline)) void by_stretch(int64_t length, int64_t row_stride, int64_t stride, int64_t first,
                                                      int64_t n, Part part) {
  if (row_stride == length * stride) return part(first * stride, 0, n);
  for (int64_t done = 0, count; done < n; done += count) {
    const int64_t row = (first + done) / length, place = (first + done) % length;
    count = std::min(length - place, n - done);
    part(row * row_stride + place * stride, done, count);
  }
}

// Calls one(i, number) for n neighbours; of those side by side in a loop of its own, which vectorises.
template <typename Number, typename One>
inline __attribute__((always_inline)) void each(const Number* from, int64_t stride, int64_t n, One one) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) one(i, from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) one(i, from[i * stride]);
  }
}

template <typename Number, typename One>
inline __attribute__((always_inline)) void each_number(const ReplacedToken& p, const TokenNumbers& numbers,
                                                       int64_t first, int64_t n, One one) {
  const auto* data = static_cast<const Number*>(numbers.data);
  by_stretch(p.length, numbers.row_stride, numbers.stride, first, n,
             [=](int64_t offset, int64_t done, int64_t count) __attribute__((always_inline)) {
               each(data + offset, numbers.stride, count,
                    [=](int64_t i, Number number) __attribute__((always_inline)) { one(done + i, number); });
             });
}

// ---- signs

template <typename Number>
inline __attribute__((always_inline)) void signs_body(const ReplacedToken& p, int64_t first, int64_t n, float* signs) {
  each_number<Number>(p, p.replaced, first, n, [=](int64_t i, Number label) __attribute__((always_inline)) {
    if constexpr (std::is_arithmetic_v<Number>) {
      signs[i] = replaced::sign_of(label);
    } else {
      signs[i] = replaced::sign_of(widen(label));
    }
  });
}

SSLFAST_ISA_CLONES void find_signs(const ReplacedToken& p, int64_t first, int64_t n, float* signs) {
  switch (p.replaced.type) {
    case NumberType::kInt8:
      return signs_body<uint8_t>(p, first, n, signs);
    case NumberType::kInt16:
      return signs_body<uint16_t>(p, first, n, signs);
    case NumberType::kInt32:
      return signs_body<uint32_t>(p, first, n, signs);
    case NumberType::kInt64:
      return signs_body<uint64_t>(p, first, n, signs);
    case NumberType::kFloat32:
      return signs_body<float>(p, first, n, signs);
    case NumberType::kFloat64:
      return signs_body<double>(p, first, n, signs);
    case NumberType::kBfloat16:
      return signs_body<Brain16>(p, first, n, signs);
    case NumberType::kFloat16:
      return signs_body<Half16>(p, first, n, signs);
  }
}

template <typename Number>
inline __attribute__((always_inline)) void padding_body(const ReplacedToken& p, int64_t first, int64_t n,
                                                        float* signs) {
  each_number<Number>(p, p.attention_mask, first, n, [=](int64_t i, Number token) __attribute__((always_inline)) {
    signs[i] = token ? signs[i] : 0.0f;
  });
}

template <typename Number>
inline __attribute__((always_inline)) int64_t count_body(const ReplacedToken& p, int64_t first, int64_t n) {
  uint32_t tokens = 0;
  each_number<Number>(p, p.attention_mask, first, n,
                      [&](int64_t, Number token) __attribute__((always_inline)) { tokens += token ? 1 : 0; });
  return tokens;
}

SSLFAST_ISA_CLONES void drop_padding(const ReplacedToken& p, int64_t first, int64_t n, float* signs) {
  switch (p.attention_mask.type) {
    case NumberType::kInt8:
      return padding_body<uint8_t>(p, first, n, signs);
    case NumberType::kInt16:
      return padding_body<uint16_t>(p, first, n, signs);
    case NumberType::kInt32:
      return padding_body<uint32_t>(p, first, n, signs);
    default:
      return padding_body<uint64_t>(p, first, n, signs);
  }
}

SSLFAST_ISA_CLONES int64_t count_tokens(const ReplacedToken& p, int64_t first, int64_t n) {
  switch (p.attention_mask.type) {
    case NumberType::kInt8:
      return count_body<uint8_t>(p, first, n);
    case NumberType::kInt16:
      return count_body<uint16_t>(p, first, n);
    case NumberType::kInt32:
      return count_body<uint32_t>(p, first, n);
    default:
      return count_body<uint64_t>(p, first, n);
  }
}

// ---- losses and derivatives

template <bool kLoss, bool kGrad, typename T>
inline __attribute__((always_inline)) void score_body(const T* logits, const float* signs, int64_t n, T factor,
                                                      T* losses, T* grads) {
  for (int64_t i = 0; i < n; ++i) {
    const T sign = signs[i];
    const T z = sign * logits[i];
    const T e = vector_exp_of_negative(-std::fabs(z));
    if constexpr (kLoss) {
      const T loss = replaced::loss_of(z, vector_log1p(e));
      losses[i] = sign == T(0) ? T(0) : loss;
    }
    if constexpr (kGrad) {
      const T slope = replaced::slope_of(sign, z, e) * factor;
      grads[i] = sign == T(0) ? T(0) : slope;
    }
  }
}

// The sum of the losses, where they are wanted.
template <typename T>
inline __attribute__((always_inline)) T score_body(const T* logits, const float* signs, int64_t n, T factor, T* losses,
                                                   T* grads) {
  if (!losses) {
    score_body<false, true>(logits, signs, n, factor, losses, grads);
    return T(0);
  }
  if (grads) {
    score_body<true, true>(logits, signs, n, factor, losses, grads);
  } else {
    score_body<true, false>(logits, signs, n, factor, losses, grads);
  }
  return sum_in_lanes<false>(losses, n, T(0));
}

#define SSLFAST_SCORE(T)                                                                                       \
  SSLFAST_ISA_CLONES T score(const T* logits, const float* signs, int64_t n, T factor, T* losses, T* grads) {  \
    return score_body(logits, signs, n, factor, losses, grads);                                                \
  }                                                                                                            \
  SSLFAST_ISA_CLONES void weigh(const ReplacedToken& p, int64_t first, int64_t n, T* grads) {                  \
    by_stretch(p.length, p.weight_row_stride, p.weight_stride, first, n,                                       \
               [&](int64_t offset, int64_t done, int64_t count) __attribute__((always_inline)) {               \
                 each(static_cast<const T*>(p.weights) + offset, p.weight_stride, count,                       \
                      [&](int64_t i, T weight) __attribute__((always_inline)) { grads[done + i] *= weight; }); \
               });                                                                                             \
  }
SSLFAST_SCORE(float)
SSLFAST_SCORE(double)
#undef SSLFAST_SCORE

#define SSLFAST_LOAD(In, T)                                                                                       \
  SSLFAST_ISA_CLONES void load(const ReplacedToken& p, int64_t first, int64_t n, const In* logits, T* out) {      \
    by_stretch(p.length, p.row_stride, p.stride, first, n,                                                        \
               [&](int64_t offset, int64_t done, int64_t count) __attribute__((always_inline)) {                  \
                 each(logits + offset, p.stride, count,                                                           \
                      [&](int64_t i, In logit) __attribute__((always_inline)) { out[done + i] = widen(logit); }); \
               });                                                                                                \
  }
SSLFAST_LOAD(float, float)
SSLFAST_LOAD(double, double)
SSLFAST_LOAD(Brain16, float)
SSLFAST_LOAD(Half16, float)
#undef SSLFAST_LOAD

#define SSLFAST_STORE(Out)                                                \
  SSLFAST_ISA_CLONES void store(const float* from, int64_t n, Out* out) { \
    for (int64_t i = 0; i < n; ++i) narrow(from[i], out[i]);              \
  }
SSLFAST_STORE(Brain16)
SSLFAST_STORE(Half16)
#undef SSLFAST_STORE

template <typename Element>
class Tokens {
  using T = Wide<Element>;

 public:
  Tokens(const ReplacedToken& p, T factor) : p_(p), factor_(factor) {
    const bool one_weight = p.weights && p.weight_stride == 0 && p.weight_row_stride == 0;
    if (one_weight) factor_ = *static_cast<const T*>(p.weights);
    weighted_ = p.weights && !one_weight;
  }

  // The sum of the losses of n tokens.
  double run(int64_t first, int64_t n) {
    constexpr bool kSame = std::is_same_v<Element, T>;
    find_signs(p_, first, n, signs_);
    if (p_.attention_mask.data) drop_padding(p_, first, n, signs_);
    T* losses = p_.losses ? static_cast<T*>(p_.losses) + first : p_.total ? losses_ : nullptr;
    T* grads = p_.grad ? grads_ : nullptr;
    const T* logits = logits_;
    if constexpr (kSame) {
      if (grads) grads = static_cast<T*>(p_.grad) + first;
    }
    const auto* data = static_cast<const Element*>(p_.logits);
    if (kSame && p_.stride == 1 && p_.row_stride == p_.length) {
      logits = reinterpret_cast<const T*>(data + first);
    } else {
      load(p_, first, n, data, logits_);
    }
    const T sum = score(logits, signs_, n, factor_, losses, grads);
    if (grads && weighted_) weigh(p_, first, n, grads);
    if constexpr (!kSame) {
      if (grads) store(grads, n, static_cast<Element*>(p_.grad) + first);
    }
    return sum;
  }

 private:
  const ReplacedToken& p_;
  T factor_;
  bool weighted_;
  alignas(64) float signs_[kTokensPerSum];
  alignas(64) T logits_[kTokensPerSum], losses_[kTokensPerSum], grads_[kTokensPerSum];
};

// block(first, n) for the blocks of sum `s`.
template <typename Block>
void blocks_of(int64_t s, int64_t sums, int64_t tokens, Block block) {
  for (int64_t first = s * kTokensPerSum; first < tokens; first += sums * kTokensPerSum) {
    block(first, std::min(kTokensPerSum, tokens - first));
  }
}

int64_t tokens_of(const ReplacedToken& p, int64_t sums, int threads) {
  const int64_t places = p.rows * p.length;
  if (!p.attention_mask.data) return places;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t s = 0; s < sums; ++s) {
    p.counts[s] = 0;
    blocks_of(s, sums, places, [&](int64_t first, int64_t n) { p.counts[s] += count_tokens(p, first, n); });
  }
  int64_t tokens = 0;
  for (int64_t s = 0; s < sums; ++s) tokens += p.counts[s];
  return tokens;
}

template <typename Element>
void run(const ReplacedToken& p, int threads) {
  using T = Wide<Element>;
  const int64_t places = p.rows * p.length, sums = partial_sums(places);
  threads = team(places, kTokensPerThread, threads);
  const bool counted = p.total && !p.items && p.divisor == 0.0;
  const double share = p.total ? replaced::share_of<T>(p, counted ? tokens_of(p, sums, threads) : 0) : 1.0;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Tokens<Element> block(p, static_cast<T>(share));
#pragma omp for
    for (int64_t s = 0; s < sums; ++s) {
      double sum = 0.0;
      blocks_of(s, sums, places, [&](int64_t first, int64_t n) { sum += block.run(first, n); });
      if (p.total) p.partial[s] = sum;
    }
  }
  if (!p.total) return;
  double sum = 0.0;
  for (int64_t s = 0; s < sums; ++s) sum += p.partial[s];
  *static_cast<T*>(p.total) = static_cast<T>(sum * share);
  *static_cast<T*>(p.share) = static_cast<T>(share);
}

}  // namespace

void replaced_token(const ReplacedToken& p, int threads) {
  by_dtype(p.dtype, [&](auto element) { run<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
