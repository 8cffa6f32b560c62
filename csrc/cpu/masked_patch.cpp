// A patch at a time, in buffers that stay in the first cache: its pixels are brought together plane by plane, where
// means and deviations are sums over neighbours, then into the order of the prediction, so that loss and gradient are
// one loop over neighbours too.
#include "sslfast/masked_patch.h"

#include <limits>
#include <vector>

#include "../shared/masked_patch_pixel.h"
#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"
#include "lane_sums.h"

namespace sslfast::cpu {
namespace {

using patch::Place;
using patch::State;

// ---- pixels between their places and a buffer in the order (channel, frame, row, column)

struct Box {
  int64_t channels, frames, rows, columns;
  PatchStrides strides;
};

Box box_of(const MaskedPatch& p, const PatchStrides& strides) {
  return {p.channels, p.patch[0], p.patch[1], p.patch[2], strides};
}

template <typename In, typename T>
inline __attribute__((always_inline)) void load_body(const In* from, const Box& box, int64_t scaled,
                                                     const double* scale, const double* shift, T* out) {
  const int64_t step = box.strides.column;
  for (int64_t c = 0; c < box.channels; ++c) {
    const bool changed = c < scaled;
    const T factor = changed ? static_cast<T>(scale[c]) : T{1}, summand = changed ? static_cast<T>(shift[c]) : T{0};
    for (int64_t t = 0; t < box.frames; ++t) {
      for (int64_t r = 0; r < box.rows; ++r, out += box.columns) {
        const In* row = from + c * box.strides.channel + t * box.strides.frame + r * box.strides.row;
        if (step != 1) {
          for (int64_t q = 0; q < box.columns; ++q) out[q] = static_cast<T>(widen(row[q * step])) * factor + summand;
        } else if (changed) {
          for (int64_t q = 0; q < box.columns; ++q) out[q] = static_cast<T>(widen(row[q])) * factor + summand;
        } else {
          for (int64_t q = 0; q < box.columns; ++q) out[q] = static_cast<T>(widen(row[q]));
        }
      }
    }
  }
}

template <typename T, typename Out>
inline __attribute__((always_inline)) void store_body(const T* values, const Box& box, Out* to) {
  for (int64_t c = 0; c < box.channels; ++c) {
    for (int64_t t = 0; t < box.frames; ++t) {
      for (int64_t r = 0; r < box.rows; ++r, values += box.columns) {
        Out* row = to + c * box.strides.channel + t * box.strides.frame + r * box.strides.row;
        for (int64_t q = 0; q < box.columns; ++q) narrow(values[q], row[q]);
      }
    }
  }
}

#define SSLFAST_LOAD(In, T)                                                                                \
  SSLFAST_ISA_CLONES void load_pixels(const In* from, const Box& box, int64_t scaled, const double* scale, \
                                      const double* shift, T* out) {                                       \
    load_body(from, box, scaled, scale, shift, out);                                                       \
  }
SSLFAST_LOAD(float, float)
SSLFAST_LOAD(double, float)
SSLFAST_LOAD(Brain16, float)
SSLFAST_LOAD(Half16, float)
SSLFAST_LOAD(uint8_t, float)
SSLFAST_LOAD(float, double)
SSLFAST_LOAD(double, double)
SSLFAST_LOAD(Brain16, double)
SSLFAST_LOAD(Half16, double)
SSLFAST_LOAD(uint8_t, double)
#undef SSLFAST_LOAD

#define SSLFAST_STORE(T, Out) \
  SSLFAST_ISA_CLONES void store_pixels(const T* values, const Box& box, Out* to) { store_body(values, box, to); }
SSLFAST_STORE(float, float)
SSLFAST_STORE(double, double)
SSLFAST_STORE(float, Brain16)
SSLFAST_STORE(float, Half16)
#undef SSLFAST_STORE

// ---- targets

// pixels: `groups` groups of n neighbours, each less its mean and divided by its standard deviation.
template <typename T>
inline __attribute__((always_inline)) void normalise_body(T* pixels, int64_t groups, int64_t n, PatchNorm norm, T eps) {
  for (int64_t g = 0; g < groups; ++g, pixels += n) {
    standardise_row(pixels, n, [&](T squares) __attribute__((always_inline)) {
      return patch::inverse_deviation(norm, squares, n, eps);
    });
  }
}

// out[k * channels + c] = planes[c * n + k]
template <typename T>
inline __attribute__((always_inline)) void interleave_body(const T* planes, int64_t channels, int64_t n, T* out) {
  if (channels == 3) {
    for (int64_t k = 0; k < n; ++k) {
      out[3 * k] = planes[k];
      out[3 * k + 1] = planes[n + k];
      out[3 * k + 2] = planes[2 * n + k];
    }
    return;
  }
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t k = 0; k < n; ++k) out[k * channels + c] = planes[c * n + k];
  }
}

// ---- loss and gradient. The losses of the pixels take the place of the target.

template <PixelKind kKind, typename T>
inline __attribute__((always_inline)) T score_body(const T* pred, T* target, int64_t n, T beta, T factor, T* grad) {
  if (grad) {
    for (int64_t i = 0; i < n; ++i) {
      const T d = pred[i] - target[i];
      target[i] = patch::pixel_loss<kKind>(d, beta);
      grad[i] = patch::pixel_slope<kKind>(d, beta) * factor;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) target[i] = patch::pixel_loss<kKind>(pred[i] - target[i], beta);
  }
  return sum_in_lanes<false>(target, n, T{0}) / static_cast<T>(n);
}

template <typename T>
inline __attribute__((always_inline)) T score_body(PixelKind kind, const T* pred, T* target, int64_t n, T beta,
                                                   T factor, T* grad) {
  switch (kind) {
    case PixelKind::kSquared:
      return score_body<PixelKind::kSquared>(pred, target, n, beta, factor, grad);
    case PixelKind::kAbsolute:
      return score_body<PixelKind::kAbsolute>(pred, target, n, beta, factor, grad);
    default:
      return score_body<PixelKind::kSmooth>(pred, target, n, beta, factor, grad);
  }
}

#define SSLFAST_ARITHMETIC(T)                                                                                  \
  SSLFAST_ISA_CLONES void normalise(T* pixels, int64_t groups, int64_t n, PatchNorm norm, T eps) {             \
    normalise_body(pixels, groups, n, norm, eps);                                                              \
  }                                                                                                            \
  SSLFAST_ISA_CLONES void interleave(const T* planes, int64_t channels, int64_t n, T* out) {                   \
    interleave_body(planes, channels, n, out);                                                                 \
  }                                                                                                            \
  SSLFAST_ISA_CLONES T score(PixelKind kind, const T* pred, T* target, int64_t n, T beta, T factor, T* grad) { \
    return score_body(kind, pred, target, n, beta, factor, grad);                                              \
  }
SSLFAST_ARITHMETIC(float)
SSLFAST_ARITHMETIC(double)
#undef SSLFAST_ARITHMETIC

template <typename T>
void load_target(const MaskedPatch& p, int64_t start, T* out) {
  const Box box = box_of(p, p.image_strides);
  const auto load = [&](auto element) {
    load_pixels(static_cast<const decltype(element)*>(p.images) + start, box, p.scaled, p.scale, p.shift, out);
  };
  p.bytes ? load(uint8_t{}) : by_dtype(p.image_dtype, load);
}

template <typename Element>
class Patches {
  using T = Wide<Element>;

 public:
  explicit Patches(const MaskedPatch& p)
      : p_(p), pixels_(patch::pixels_of(p)), planes_(pixels_), target_(pixels_), pred_(pixels_), grad_(pixels_) {}

  void run(int64_t i, const LargeOutput& memory) {
    const int64_t row = i / p_.items, item = i % p_.items;
    const Place place = patch::place_of(p_, row, item);
    T& loss = static_cast<T*>(p_.loss)[row * p_.items + item];
    Element* grad = p_.grad ? static_cast<Element*>(p_.grad) + patch::grad_start(p_, row, item) : nullptr;
    if (place.state != State::kCounts) {
      loss = place.state == State::kNone ? T{0} : std::numeric_limits<T>::quiet_NaN();
      if (grad && place.state == State::kOutOfRange) {  // never as an image, which has no ids
        std::fill_n(grad_.begin(), pixels_, loss);
        return store_grad(grad, memory.streamed);
      }
      const int64_t bytes = pixels_ * sizeof(Element);  // as an image all of it is zero already
      if (grad && !p_.as_image && !memory.is_zero(grad, bytes)) {
        memory.streamed ? stream(grad, nullptr, bytes) : static_cast<void>(std::memset(grad, 0, bytes));
      }
      return;
    }
    T* target = find_target(place);
    const T* weights = static_cast<const T*>(p_.weights);
    const T weight = weights ? weights[p_.one_weight ? 0 : row * p_.items + item] : T{1};
    loss = score(p_.kind, find_pred(row, item), target, pixels_, static_cast<T>(p_.beta),
                 weight / static_cast<T>(pixels_), grad ? grad_.data() : nullptr);
    if (grad) store_grad(grad, memory.streamed);
  }

 private:
  T* find_target(const Place& place) {
    load_target(p_, patch::target_start(p_, place), planes_.data());
    const int64_t plane = pixels_ / p_.channels, groups = p_.norm == PatchNorm::kChannel ? p_.channels : 1;
    if (p_.norm != PatchNorm::kNone) {
      normalise(planes_.data(), groups, pixels_ / groups, p_.norm, static_cast<T>(p_.eps));
    }
    if (p_.as_image || p_.channels == 1 || p_.pred_strides.channel != 1) return planes_.data();
    interleave(planes_.data(), p_.channels, plane, target_.data());
    return target_.data();
  }

  const T* find_pred(int64_t row, int64_t item) {
    const Element* from = static_cast<const Element*>(p_.pred) + patch::pred_start(p_, row, item);
    if constexpr (std::is_same_v<Element, T>) {
      if (!p_.as_image) return from;
    }
    const Box box = p_.as_image ? box_of(p_, p_.pred_strides) : Box{1, 1, 1, pixels_, {0, 0, 0, 1}};
    load_pixels(from, box, 0, nullptr, nullptr, pred_.data());
    return pred_.data();
  }

  void store_grad(Element* to, bool streamed) {
    if constexpr (std::is_same_v<Element, T>) {
      if (!p_.as_image && streamed) return stream(to, grad_.data(), pixels_ * sizeof(Element));
    }
    const Box box = p_.as_image ? box_of(p_, p_.grad_strides) : Box{1, 1, 1, pixels_, {0, 0, 0, 1}};
    store_pixels(grad_.data(), box, to);
  }

  const MaskedPatch& p_;
  int64_t pixels_;
  std::vector<T> planes_, target_, pred_, grad_;
};

template <typename Element>
void run(const MaskedPatch& p, int threads) {
  const int64_t count = p.rows * p.items, bytes = count * patch::pixels_of(p) * sizeof(Element);
  LargeOutput memory;
  if (p.grad) memory = prepare_large_output(p.grad, bytes);
  if (p.grad && p.as_image && !memory.is_zero(p.grad, bytes)) std::memset(p.grad, 0, bytes);
  threads = team(count * patch::pixels_of(p) * sizeof(float), kBytesPerThread, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Patches<Element> patches(p);
    const int64_t first = count * omp_get_thread_num() / omp_get_num_threads();
    const int64_t last = count * (omp_get_thread_num() + 1) / omp_get_num_threads();
    for (int64_t i = first; i < last; ++i) patches.run(i, memory);
    stream_fence();
  }
}

}  // namespace

void masked_patch(const MaskedPatch& p, int threads) {
  if (p.rows == 0 || p.items == 0) return;
  by_dtype(p.dtype, [&](auto element) { run<decltype(element)>(p, threads); });
}

}  // namespace sslfast::cpu
