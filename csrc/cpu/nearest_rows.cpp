// The largest number of a row first, in lanes, and then its place: most of the row is only compared with that. A search
// that carries places along with numbers takes ten times as long.
#include "sslfast/nearest_rows.h"

#include <limits>

#include "isa.h"
#include "team.h"

namespace sslfast::cpu {
namespace {

template <typename T>
inline __attribute__((always_inline)) int64_t largest_body(const T* s, int64_t n, T& value) {
  constexpr int64_t kLanes = 32;
  T largest = -std::numeric_limits<T>::infinity(), zero = 0;  // zero: NaN where a number is, and none is infinite
#pragma omp simd reduction(max : largest) reduction(+ : zero)
  for (int64_t j = 0; j < n; ++j) {
    largest = s[j] > largest ? s[j] : largest;
    zero += T(0) * s[j];
  }
  if (zero != zero) {
    int64_t j = 0;
    while (j + 1 < n && s[j] == s[j]) ++j;
    value = s[j];
    return j;
  }
  value = largest;
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    int found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t l = 0; l < kLanes; ++l) found |= s[j + l] == largest;
    if (found != 0) break;
  }
  while (j + 1 < n && s[j] != largest) ++j;
  return j;
}

SSLFAST_ISA_CLONES int64_t largest(const float* s, int64_t n, float& value) { return largest_body(s, n, value); }
int64_t largest(const double* s, int64_t n, double& value) { return largest_body(s, n, value); }

template <typename T>
void search(const NearestTile<T>& t, int threads) {
  share_out(t.rows, team(t.rows * t.cols, kNumbersPerThread, threads), [&](int64_t i) {
    T value;
    const int64_t j = largest(t.similarities + i * t.cols, t.cols, value);
    T& before = t.similarity[i];
    if (before != before || value <= before) return;
    before = value;
    t.index[i] = t.col0 + j;
  });
}

}  // namespace

void nearest_in_tile(const NearestTile<float>& tile, int threads) { search(tile, threads); }
void nearest_in_tile(const NearestTile<double>& tile, int threads) { search(tile, threads); }

}  // namespace sslfast::cpu
