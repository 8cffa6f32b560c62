// A band of lines of an image, which the mix of a batch and its adjoint take at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "../shared/batch_mix_pixel.h"
#include "sslfast/batch_mix.h"

namespace sslfast::cpu {

constexpr int64_t kBandBytes = 32 << 10;  // a band of two images and the result fit L2 many times over

// Lines of one plane of one image.
template <typename T>
struct Band {
  T* data;
  int64_t stride;

  T* line(int64_t y) const { return data + y * stride; }
};

struct Extent {
  int64_t first, end, line;  // lines, and the elements of one
};

inline int64_t band_lines(const ImageLines& image, int64_t element_size) {
  return std::clamp<int64_t>(kBandBytes / std::max<int64_t>(1, image.line * element_size), 1,
                             std::max<int64_t>(1, image.height));
}

inline std::vector<mix::Row> read_rows(const BatchMix& p) {
  std::vector<mix::Row> rows(p.from.rows);
  for (int64_t r = 0; r < p.from.rows; ++r) rows[r] = mix::read_row(p, r);
  return rows;
}

}  // namespace sslfast::cpu
