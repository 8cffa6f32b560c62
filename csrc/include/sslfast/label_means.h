// Rows and the columns of their label: how many these are, and the mean of their products with the row, from one sum of
// columns per label.
#pragma once

#include <cstdint>

namespace sslfast {

// T is float or double.
template <typename T>
struct LabelMeans {
  const T *rows, *columns;  // (n, width) and (m, width), contiguous
  const int64_t *labels, *ref_labels;
  int64_t n, m, width;
  double scale;
  T* mean;                             // (n): of scale * <row, column> over the columns of the row's label; 0 of none
  int64_t* counts;                     // (n): how many they are
  int64_t* partners;                   // (n): the only one, or -1
  int32_t *row_classes, *col_classes;  // (n), (m): equal where labels are; -1 for a row without a column
  T* share;                            // (n): 1 / number of rows with a column, or 0 for those without
  T* label_weights;                    // (n): share / count, where there are several columns, else 0
  T* poison;                           // one number: NaN if a number of either side is, else 0
};

namespace cpu {

// Instantiated for float and double. Results do not depend on the number of threads.
template <typename T>
void label_means(const LabelMeans<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
