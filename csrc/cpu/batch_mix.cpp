// A band of lines at a time, in all images: along a chain of partners each band is read from memory once, as an image's
// own, while it is still cached from having been its predecessor's partner. In place the same chain is safe: an image
// is overwritten after its predecessor has read it, and what its last member reads of its first one is put aside.
#include "sslfast/batch_mix.h"

#include <algorithm>
#include <vector>

#include "../shared/batch_mix_sample.h"
#include "batch_mix_band.h"
#include "copy_rows.h"
#include "element_types.h"
#include "isa.h"

namespace sslfast::cpu {
namespace {

using mix::Row;

constexpr int64_t kPiece = 1024;  // elements that are blended in L1 before they are streamed

template <typename T>
inline __attribute__((always_inline)) void blend_body(const T* own, const T* other, Wide<T> a, Wide<T> b, T* out,
                                                      int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    narrow(rounded::add(rounded::mul(widen(other[i]), b), rounded::mul(widen(own[i]), a)), out[i]);
}

SSLFAST_ISA_CLONES void blend(const uint8_t* own, const uint8_t* other, float a, float b, uint8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = mix::to_byte(rounded::add(rounded::mul(widen(other[i]), b), rounded::mul(widen(own[i]), a)));
  }
}

#define SSLFAST_LOOPS(T)                                                                                 \
  SSLFAST_ISA_CLONES void blend(const T* own, const T* other, Wide<T> a, Wide<T> b, T* out, int64_t n) { \
    blend_body<T>(own, other, a, b, out, n);                                                             \
  }
SSLFAST_LOOPS(float)
SSLFAST_LOOPS(double)
SSLFAST_LOOPS(Brain16)
SSLFAST_LOOPS(Half16)
#undef SSLFAST_LOOPS

// The rows, each followed by its partner as far as that is new. A chain that is a cycle begins at `first`.
struct Step {
  int64_t row, first;  // first row of the chain, or -1 within one
};

struct Chains {
  std::vector<Step> steps;
  bool permutation = true;
};

Chains chains_of(const std::vector<Row>& rows) {
  const auto count = static_cast<int64_t>(rows.size());
  Chains chains;
  std::vector<bool> seen(count), used(count);
  for (const Row& row : rows) {
    chains.permutation = chains.permutation && !used[row.partner];
    used[row.partner] = true;
  }
  for (int64_t begin = 0; begin < count; ++begin) {
    int64_t first = begin;
    for (int64_t r = begin; !seen[r]; r = rows[r].partner) {
      seen[r] = true;
      chains.steps.push_back({r, first});
      first = -1;
    }
  }
  return chains;
}

template <typename T>
void copy(T* to, const T* from, int64_t n, bool streamed) {
  if (streamed) {
    stream(to, from, n * static_cast<int64_t>(sizeof(T)));
  } else {
    std::memcpy(to, from, n * sizeof(T));
  }
}

template <typename T>
void blend_line(const T* own, const T* other, const Row& row, T* out, int64_t n, bool streamed) {
  const auto a = static_cast<Wide<T>>(row.own), b = static_cast<Wide<T>>(row.other);
  if (!streamed) return blend(own, other, a, b, out, n);
  alignas(64) T piece[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t m = std::min(kPiece, n - i);
    blend(own + i, other + i, a, b, piece, m);
    stream(out + i, piece, m * static_cast<int64_t>(sizeof(T)));
  }
}

// A line with a part of the partner's. Streamed, it is put together in L1 first: pieces that end within a cache line
// would have to read it, and took three times as long.
template <typename T>
void box_line(const T* own, const T* other, int64_t left, int64_t right, T* out, int64_t n, bool streamed) {
  if (!streamed) {
    if (own != out) {
      std::memcpy(out, own, left * sizeof(T));
      std::memcpy(out + right, own + right, (n - right) * sizeof(T));
    }
    std::memcpy(out + left, other + left, (right - left) * sizeof(T));
    return;
  }
  alignas(64) T piece[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t m = std::min(kPiece, n - i), a = std::clamp<int64_t>(left - i, 0, m);
    const int64_t b = std::clamp<int64_t>(right - i, a, m);
    std::memcpy(piece, own + i, a * sizeof(T));
    std::memcpy(piece + a, other + i + a, (b - a) * sizeof(T));
    std::memcpy(piece + b, own + i + b, (m - b) * sizeof(T));
    stream(out + i, piece, m * static_cast<int64_t>(sizeof(T)));
  }
}

// One image's band. Where `own` is `out`, lines that stay are left alone.
template <typename T>
void mix_band(const Row& row, Band<const T> own, Band<const T> other, Band<T> out, Extent band, bool streamed) {
  const bool whole = own.stride == band.line && other.stride == band.line && out.stride == band.line;
  if (row.kind != MixKind::kBox && whole) {
    band.line *= band.end - band.first;
    const int64_t first = band.first * out.stride;
    if (row.kind == MixKind::kBlend) {
      blend_line(own.data + first, other.data + first, row, out.data + first, band.line, streamed);
    } else if (own.data != out.data) {
      copy(out.data + first, own.data + first, band.line, streamed);
    }
    return;
  }
  for (int64_t y = band.first; y < band.end; ++y) {
    const T *from = own.line(y), *partner = other.line(y);
    T* to = out.line(y);
    if (row.kind == MixKind::kBlend) {
      blend_line(from, partner, row, to, band.line, streamed);
      continue;
    }
    if (row.kind == MixKind::kBox && row.box.has_line(y)) {
      box_line(from, partner, row.box.left, row.box.right, to, band.line, streamed);
    } else if (from != to) {
      copy(to, from, band.line, streamed);
    }
  }
}

// What the last image of a chain will read of its first one, which is overwritten by then.
template <typename T>
void put_aside(const Row& last, Band<const T> first, Extent band, Band<T> kept) {
  if (last.kind == MixKind::kNone) return;
  for (int64_t y = band.first; y < band.end; ++y) {
    const bool all = last.kind == MixKind::kBlend;
    if (!all && !last.box.has_line(y)) continue;
    const int64_t left = all ? 0 : last.box.left, right = all ? band.line : last.box.right;
    std::copy(first.line(y) + left, first.line(y) + right, kept.line(y) + left);
  }
}

template <typename T>
void mix_everywhere(const BatchMix& p, const std::vector<Row>& rows, const Chains& chains, bool streamed,
                    int64_t part) {
  const ImageLines& image = p.from;
  const int64_t lines = band_lines(image, sizeof(T)), bands = (image.height + lines - 1) / lines;
  const int64_t plane = part / bands, first = part % bands * lines;
  const Extent band{first, std::min(first + lines, image.height), image.line};
  const auto* x = static_cast<const T*>(p.x);
  auto* out = static_cast<T*>(p.out);
  const bool in_place = p.x == p.out;
  std::vector<T> memory(in_place ? (band.end - band.first) * band.line : 0);
  const Band<T> kept{memory.data() - band.first * band.line, band.line};
  for (size_t s = 0; s < chains.steps.size(); ++s) {
    const auto [r, begins] = chains.steps[s];
    const Row& row = rows[r];
    Band<const T> other{x + image.at(row.partner, plane, 0), image.line_stride};
    if (in_place) {
      const bool last = s + 1 == chains.steps.size() || chains.steps[s + 1].first >= 0;
      if (begins >= 0) {
        size_t e = s;
        while (e + 1 < chains.steps.size() && chains.steps[e + 1].first < 0) ++e;
        if (e > s) {
          put_aside(rows[chains.steps[e].row], Band<const T>{x + image.at(r, plane, 0), image.line_stride}, band, kept);
        }
      }
      if (last && begins < 0) other = {kept.data, kept.stride};
    }
    mix_band(row, Band<const T>{x + image.at(r, plane, 0), image.line_stride}, other,
             Band<T>{out + p.to.at(r, plane, 0), p.to.line_stride}, band, streamed);
  }
  if (streamed) stream_fence();
}

template <typename T>
void run(const BatchMix& p, const std::vector<Row>& rows, const Chains& chains, int threads) {
  const ImageLines& image = p.from;
  const int64_t lines = band_lines(image, sizeof(T)), parts = image.planes * ((image.height + lines - 1) / lines);
  const int64_t elements = image.rows * image.planes * image.height * image.line;
  bool streamed = p.x != p.out;  // the output is one piece of memory then
  threads = static_cast<int>(std::min<int64_t>(parts, team(elements * sizeof(T), kBytesPerThread, threads)));
#pragma omp parallel num_threads(std::max(threads, 1)) reduction(&& : streamed) if (threads > 1)
  {
    if (p.x != p.out) {
      const int64_t begin = elements * omp_get_thread_num() / omp_get_num_threads();
      const int64_t end = elements * (omp_get_thread_num() + 1) / omp_get_num_threads();
      streamed = prepare_large_output(static_cast<T*>(p.out) + begin, (end - begin) * sizeof(T)).streamed;
    }
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::max(threads, 1)) if (threads > 1)
  for (int64_t part = 0; part < parts; ++part) mix_everywhere<T>(p, rows, chains, streamed, part);
}

}  // namespace

void batch_mix_params(const BatchMixParams& p, int) {
  const uint64_t seed = p.seed.get();
  for (int64_t r = 0; r < p.rows; ++r) mix::mix_params(p, seed, r, p.out + r * kMixColumns);
}

bool batch_mix(const BatchMix& p, int threads) {
  const std::vector<Row> rows = read_rows(p);
  const Chains chains = chains_of(rows);
  if (p.x == p.out && !chains.permutation) return false;
  if (p.bytes) {
    run<uint8_t>(p, rows, chains, threads);
  } else {
    by_dtype(p.dtype, [&](auto element) { run<decltype(element)>(p, rows, chains, threads); });
  }
  return true;
}

bool mix_targets(const MixTargets& p, int) {
  bool classes = true;
  for (int64_t r = 0; r < p.rows; ++r) {
    float* out = p.out + r * p.classes;
    std::fill_n(out, p.classes, mix::target(p, r, -1));
    classes = classes && 0 <= p.labels[r] && p.labels[r] < p.classes;
    for (const int64_t c : {p.labels[r], p.labels[mix::partner_of(p.params + r * kMixColumns, p.rows)]}) {
      if (0 <= c && c < p.classes) out[c] = mix::target(p, r, c);
    }
  }
  return classes;
}

}  // namespace sslfast::cpu
