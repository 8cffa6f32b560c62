// Rows of a small batch with labels, and what each of them is compared with: the other rows, or references.
#pragma once

#include <cstdint>

namespace sslfast {

// T is float or double.
template <typename T>
struct LabelledRows {
  const T* points;  // (rows + references, width), contiguous: the rows, and then the references
  const int64_t* labels;
  int64_t rows, width;
  const int64_t* ref_labels = nullptr;
  int64_t references = 0;           // 0 where columns are the rows, which are then in no pair with themselves
  const int64_t* copies = nullptr;  // (rows): the reference that each is not compared with, or -1; null for none

  bool among() const { return references == 0; }
  int64_t columns() const { return among() ? rows : references; }
  int64_t all() const { return rows + references; }
  // The column that row i is not compared with, or -1.
  int64_t own(int64_t i) const { return among() ? i : copies ? copies[i] : -1; }
  // Where a column is among the points.
  int64_t place(int64_t column) const { return among() ? column : rows + column; }
  const int64_t* column_labels() const { return among() ? labels : ref_labels; }
  const T* row(int64_t i) const { return points + i * width; }
  const T* column(int64_t j) const { return points + place(j) * width; }
};

}  // namespace sslfast
