// Spectrogram by spectrogram: its intervals are drawn, then each line of a bin is copied, if it has to be, and filled
// while it is in the cache. In place nothing is read, and only masked cells are written.
#include "sslfast/spec_augment.h"

#include <algorithm>
#include <cstring>

#include "large_output.h"
#include "shared/spec_interval.h"

namespace sslfast::cpu {
namespace {

using spec::Interval;

constexpr int64_t kCellsPerThread = 64 << 10;

template <typename Element>
void fill_cells(Element* to, int64_t stride, int64_t first, int64_t end, Element value) {
  if (stride == 1) {
    std::fill(to + first, to + end, value);
  } else {
    for (int64_t t = first; t < end; ++t) to[t * stride] = value;
  }
}

template <typename Element>
void copy_cells(const SpecFill& p, const Element* from, Element* to) {
  if (p.from_frame_stride == 1 && p.to_frame_stride == 1) {
    std::memcpy(to, from, p.frames * sizeof(Element));
  } else {
    for (int64_t t = 0; t < p.frames; ++t) to[t * p.to_frame_stride] = from[t * p.from_frame_stride];
  }
}

template <typename Element>
void fill_row(const SpecFill& p, int64_t row) {
  const int64_t r = row / p.channels, c = row % p.channels, masks = p.bin_masks + p.frame_masks;
  const auto* from = static_cast<const Element*>(p.from) + r * p.from_row_stride + c * p.from_channel_stride;
  auto* to = static_cast<Element*>(p.to) + r * p.to_row_stride + c * p.to_channel_stride;
  const auto* intervals = reinterpret_cast<const Interval*>(p.intervals) + row * masks;
  const Element value = p.values ? static_cast<const Element*>(p.values)[row] : static_cast<Element>(p.constant);
  for (int64_t b = 0; b < p.bins; ++b, from += p.from_bin_stride, to += p.to_bin_stride) {
    if (p.from != p.to) copy_cells(p, from, to);
    const Interval* whole =
        std::find_if(intervals, intervals + p.bin_masks, [b](const Interval& i) { return i.first <= b && b < i.end; });
    if (whole != intervals + p.bin_masks) {
      fill_cells<Element>(to, p.to_frame_stride, 0, whole->frames, value);
      continue;
    }
    for (int64_t m = p.bin_masks; m < masks; ++m) {
      fill_cells<Element>(to, p.to_frame_stride, intervals[m].first, intervals[m].end, value);
    }
  }
}

template <typename Before>
void run(const SpecFill& p, int threads, Before before) {
  const int64_t rows = p.rows * p.channels, cells = rows * p.bins * p.frames;
  if (p.from != p.to) advise_huge_pages(p.to, cells * p.element_size);
  threads = static_cast<int>(std::clamp<int64_t>(cells / kCellsPerThread, 1, threads));
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < rows; ++row) {
    before(row);
    if (p.element_size == 2) {
      fill_row<uint16_t>(p, row);
    } else if (p.element_size == 4) {
      fill_row<uint32_t>(p, row);
    } else {
      fill_row<uint64_t>(p, row);
    }
  }
}

}  // namespace

void spec_augment(const SpecAugment& p, int threads) {
  const uint64_t seed = p.draw.seed.get();
  const int64_t masks = p.draw.bin_masks + p.draw.frame_masks, channels = p.fill.channels;
  auto* intervals = reinterpret_cast<Interval*>(p.fill.intervals);
  run(p.fill, threads, [&](int64_t row) {
    for (int64_t m = 0; m < masks; ++m) {
      intervals[row * masks + m] =
          spec::draw_interval(p.draw, seed, row / channels, row % channels, m, p.fill.bins, p.fill.frames);
    }
  });
}

void spec_fill(const SpecFill& p, int threads) {
  run(p, threads, [](int64_t) {});
}

}  // namespace sslfast::cpu
