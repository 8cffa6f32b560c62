// Minus the mean log distance of each unit vector to its nearest neighbour, and the gradient.
//
// u_i = x_i / max(|x_i|, eps), j(i) the first of the others with the largest product with u_i, t_i = u_i - u_j(i) +
// eps: loss = -mean log(|t_i| + eps). With w_i = -1 / (N |t_i| (|t_i| + eps)), 0 where |t_i| is, the gradient in u is
// sum_i w_i t_i (e_i - e_j(i)).
#pragma once

#include <cstdint>

namespace sslfast {

// T is float or double.
template <typename T>
struct Koleo {
  const T* x;  // (rows, width), rows apart by row_stride, within a row contiguous
  int64_t rows, width, row_stride;
  T eps;
  T* unit;           // (rows, width): u
  T* factors;        // (rows): 1 / max(|x|, eps)
  T* best;           // (rows): the largest product with another row so far, then |t| + eps
  int32_t* nearest;  // (rows): and whose it is
  T* nearness;       // (rows): 1 / |t|, 0 where |t| is
  T* loss;           // one number
  int64_t* neighbours;
  T* grad;  // (rows, width); null where not wanted
};

namespace cpu {

// Instantiated for float and double. Results do not depend on the number of threads.

// Fills unit and factors, and forgets what is nearest.
template <typename T>
void koleo_units(const Koleo<T>& p, int threads);
// Takes note of the products of the rows first <= i < stop with the rows first <= j < p.rows: a tile of stop - first
// rows. Of each pair the product above the diagonal is read. To be called in the order of the rows.
template <typename T>
void koleo_search(const Koleo<T>& p, const T* tile, int64_t first, int64_t stop, int threads);
// Fills loss, neighbours and grad.
template <typename T>
void koleo_loss(const Koleo<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
