// The adjoint of the mix, which adds up in the wide type. A band of an image's gradient at a time is gathered from its
// own row and from those that have it as a partner, so that no two threads write to one place.
#include <algorithm>
#include <vector>

#include "batch_mix_band.h"
#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"
#include "sslfast/batch_mix.h"

namespace sslfast::cpu {
namespace {

using mix::Row;

// weight == 1 where pixels were moved.
template <typename T>
inline __attribute__((always_inline)) void add_body(const T* from, Wide<T> weight, Wide<T>* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] = rounded::add(sums[i], rounded::mul(widen(from[i]), weight));
}

template <typename T>
inline __attribute__((always_inline)) void narrow_body(const Wide<T>* sums, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) narrow(sums[i], out[i]);
}

#define SSLFAST_LOOPS(T)                                                                                             \
  SSLFAST_ISA_CLONES void add(const T* from, Wide<T> w, Wide<T>* sums, int64_t n) { add_body<T>(from, w, sums, n); } \
  SSLFAST_ISA_CLONES void round(const Wide<T>* sums, T* out, int64_t n) { narrow_body<T>(sums, out, n); }
SSLFAST_LOOPS(float)
SSLFAST_LOOPS(double)
SSLFAST_LOOPS(Brain16)
SSLFAST_LOOPS(Half16)
#undef SSLFAST_LOOPS

// Adds what row `row` made of its own image (own) or of its partner's to a band of that image's gradient.
template <typename T>
void add_band(const Row& row, bool own, Band<const T> grad, Extent band, Wide<T>* sums) {
  for (int64_t y = band.first; y < band.end; ++y, sums += band.line) {
    const T* from = grad.line(y);
    if (row.kind == MixKind::kBlend) {
      add(from, static_cast<Wide<T>>(own ? row.own : row.other), sums, band.line);
      continue;
    }
    const bool boxed = row.kind == MixKind::kBox && row.box.has_line(y);
    const int64_t left = boxed ? row.box.left : band.line, right = boxed ? row.box.right : band.line;
    if (own) {
      add(from, Wide<T>{1}, sums, left);
      add(from + right, Wide<T>{1}, sums + right, band.line - right);
    } else {
      add(from + left, Wide<T>{1}, sums + left, right - left);
    }
  }
}

template <typename T>
void run_backward(const BatchMixBackward& p, const std::vector<Row>& rows, int threads) {
  const ImageLines& image = p.mix.from;
  const int64_t lines = band_lines(image, sizeof(T)), bands = (image.height + lines - 1) / lines;
  const int64_t parts = image.planes * bands;
  const auto* grad = static_cast<const T*>(p.mix.x);
  auto* out = static_cast<T*>(p.mix.out);
  threads = team(image.rows * image.planes * image.height * image.line * sizeof(T), kBytesPerThread, threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t plane = part / bands, first = part % bands * lines;
    const Extent band{first, std::min(first + lines, image.height), image.line};
    std::vector<Wide<T>> sums((band.end - band.first) * band.line);
    for (int64_t r = 0; r < image.rows; ++r) {
      std::fill(sums.begin(), sums.end(), Wide<T>{0});
      const auto grad_of = [&](int64_t i) { return Band<const T>{grad + image.at(i, plane, 0), image.line_stride}; };
      add_band(rows[r], true, grad_of(r), band, sums.data());
      for (int64_t u = p.starts[r]; u < p.starts[r + 1]; ++u) {
        add_band(rows[p.users[u]], false, grad_of(p.users[u]), band, sums.data());
      }
      for (int64_t y = band.first; y < band.end; ++y) {
        round(sums.data() + (y - band.first) * band.line, out + p.mix.to.at(r, plane, y), band.line);
      }
    }
  }
}

}  // namespace

void batch_mix_backward(const BatchMixBackward& p, int threads) {
  const std::vector<Row> rows = read_rows(p.mix);
  by_dtype(p.mix.dtype, [&](auto element) { run_backward<decltype(element)>(p, rows, threads); });
}

}  // namespace sslfast::cpu
