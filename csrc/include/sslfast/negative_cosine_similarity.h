// Minus the mean cosine of pairs of rows, and its gradients in both.
//
// With m = max(|x|, eps): cos = x0 x1 / (m0 m1), d cos / d x0 = x1 / (m0 m1) - cos x0 / m0^2, without the second term
// where eps is the larger.
#pragma once

#include <cstdint>

namespace sslfast {

// T is float or double.
template <typename T>
struct NegativeCosine {
  const T *x0, *x1;  // (rows, width), rows apart by their strides, within a row contiguous
  int64_t rows, width, stride0, stride1;
  T eps;
  T* cosines;        // (rows): scratch
  T* loss;           // one number
  T *grad0, *grad1;  // (rows, width), contiguous; null where not wanted
};

namespace cpu {

// Instantiated for float and double. The result does not depend on the number of threads.
template <typename T>
void negative_cosine_similarity(const NegativeCosine<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
