// For each of N rows the nearest of K columns of width D, by cosine similarity.
#pragma once

#include <cstdint>

namespace sslfast {

// A tile of similarities, (rows, cols) and contiguous, of columns from col0 on, and what was found before it.
template <typename T>
struct NearestTile {
  const T* similarities;
  int64_t rows, cols, col0;
  T* similarity;   // (rows): the largest; -inf at first
  int64_t* index;  // (rows): its column
};

namespace cpu {

// Of equally near columns the first stays; a NaN is nearer than all numbers.
void nearest_in_tile(const NearestTile<float>& tile, int threads);
void nearest_in_tile(const NearestTile<double>& tile, int threads);

}  // namespace cpu
}  // namespace sslfast
