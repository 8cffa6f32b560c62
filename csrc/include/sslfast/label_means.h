// Rows and the columns of their label, but for the row's own copy: how many these are, and the mean of their products
// with the row, from one sum of columns per label.
#pragma once

#include <cstdint>

namespace sslfast {

// T is float or double.
template <typename T>
struct LabelMeans {
  const T *rows, *columns;  // (n, width) and (m, width), contiguous
  const int64_t *labels, *ref_labels;
  const int64_t* copies;  // (n): the column that is a copy of a row, or -1; or null
  bool itself;            // whether columns are the rows, each its own copy
  int64_t n, m, width;
  double scale;
  T* mean;                             // (n): of scale * <row, column> over the columns of the row's label; 0 of none
  int64_t* counts;                     // (n): how many they are
  int64_t* partners;                   // (n): the only one, or -1; -1 with copies
  int32_t *row_classes, *col_classes;  // (n), (m): equal where labels are; -1 for a row without a column
  T* share;                            // (n): 1 / number of rows with a column, or 0 for those without
  T* label_weights;                    // (n): share / count, where there is a column and no partner, else 0
  T* poison;                           // one number: NaN if a number of either side is, else 0
};

namespace cpu {

// Instantiated for float and double. Results do not depend on the number of threads.
template <typename T>
void label_means(const LabelMeans<T>& p, int threads);

}  // namespace cpu
}  // namespace sslfast
