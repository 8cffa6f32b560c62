// Similarities of every query with keys of its own, and the way of their gradient back: no matrix product, bound by
// reading the keys, which is done once in either.
//
// With f_ik = 1 / max(|h_ik|, eps), or 1 where keys are taken as they are: s_ik = f_ik <q_i, h_ik>. For gradients g of
// s and w = g f: d q_i = sum_k w_ik h_ik and d h_ik = w_ik q_i - w_ik f_ik s_ik h_ik, without the second term where the
// divisor is constant.
#pragma once

#include <cstdint>

#include "sslfast/unit_rows.h"

namespace sslfast {

// Queries (rows, width) and keys (rows, count, width), apart by their strides, a row of numbers contiguous. T, the type
// of accumulation, is double for double and float otherwise.
template <typename Key, typename T>
struct OwnKeys {
  const T* query;
  const Key* keys;
  int64_t rows, count, width, query_stride, row_stride, key_stride;
};

template <typename Key, typename T>
struct OwnSimilarities {
  OwnKeys<Key, T> of;
  T* similarities;   // (rows, count)
  T* inverse_norms;  // (rows, count); null where keys are taken as they are
};

template <typename Key, typename T>
struct OwnSimilaritiesBackward {
  OwnKeys<Key, T> of;
  const T* grad;                          // (rows, count), as the next two
  const T *similarities, *inverse_norms;  // of forward; null where keys are taken as they are
  T* grad_query;                          // (rows, width), contiguous; null where not wanted
  Key* grad_keys;                         // (rows, count, width), contiguous; null where not wanted
};

namespace cpu {

// Instantiated for float, Brain16 and Half16 with float sums, and for double. The result does not depend on the number
// of threads.
template <typename Key, typename T>
void own_similarities(const OwnSimilarities<Key, T>& p, int threads);
template <typename Key, typename T>
void own_similarities_backward(const OwnSimilaritiesBackward<Key, T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
