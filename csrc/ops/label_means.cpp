// Labels of rows and columns, and the mean logit of every row's positives, in one call: in plain torch, which is what a
// GPU runs (losses/_label_means.py), these are fifty, most of the time of a small batch.
#include "sslfast/label_means.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename T>
Results run(const Tensor& rows, const Tensor& columns, const Tensor& labels, const Tensor& ref_labels,
            const std::optional<Tensor>& copies, bool itself, double scale) {
  const int64_t n = rows.size(0), m = columns.size(0);
  const ScalarType dtype = rows.scalar_type();
  Tensor mean = empty({n}, dtype, rows), counts = empty({n}, ScalarType::Long, rows);
  Tensor partners = empty({n}, ScalarType::Long, rows), row_classes = empty({n}, ScalarType::Int, rows);
  Tensor col_classes = empty({m}, ScalarType::Int, rows), share = empty({n}, dtype, rows);
  Tensor label_weights = empty({n}, dtype, rows), poison = empty({}, dtype, rows);
  launch(cpu::label_means<T>,
         LabelMeans<T>{rows.const_data_ptr<T>(), columns.const_data_ptr<T>(), labels.const_data_ptr<int64_t>(),
                       ref_labels.const_data_ptr<int64_t>(), copies ? copies->const_data_ptr<int64_t>() : nullptr,
                       itself, n, m, rows.size(1), scale, mean.mutable_data_ptr<T>(),
                       counts.mutable_data_ptr<int64_t>(), partners.mutable_data_ptr<int64_t>(),
                       row_classes.mutable_data_ptr<int32_t>(), col_classes.mutable_data_ptr<int32_t>(),
                       share.mutable_data_ptr<T>(), label_weights.mutable_data_ptr<T>(), poison.mutable_data_ptr<T>()},
         rows);
  return {mean, counts, partners, row_classes, col_classes, share, label_weights, poison};
}

Results label_means(const Tensor& rows, const Tensor& columns, const Tensor& labels, const Tensor& ref_labels,
                    const std::optional<Tensor>& copies, bool itself, double scale) {
  for (const Tensor* t : {&rows, &columns, &labels, &ref_labels}) {
    check(t->is_cpu() && t->is_contiguous(), "label_means: tensors must be contiguous");
  }
  check(rows.dim() == 2 && columns.dim() == 2 && rows.size(1) == columns.size(1) && columns.size(0) > 0 &&
            rows.scalar_type() == columns.scalar_type(),
        "label_means: rows must be (N, D), columns (M, D) of their dtype");
  check(columns.size(0) <= std::numeric_limits<int32_t>::max(), "label_means: there must be less than 2^31 columns");
  check(labels.scalar_type() == ScalarType::Long && ref_labels.scalar_type() == ScalarType::Long &&
            labels.numel() == rows.size(0) && ref_labels.numel() == columns.size(0),
        "label_means: labels must be int64, one a row or column");
  check(!itself || (!copies && rows.size(0) == columns.size(0)),
        "label_means: rows that are the columns have no copies");
  if (copies) {
    check(copies->is_cpu() && copies->is_contiguous() && copies->scalar_type() == ScalarType::Long &&
              copies->numel() == rows.size(0),
          "label_means: copies must be int64, one a row");
    const auto* first = copies->const_data_ptr<int64_t>();
    check(std::all_of(first, first + rows.size(0), [&](int64_t j) { return -1 <= j && j < columns.size(0); }),
          "label_means: copies must be columns or -1");
  }
  if (rows.scalar_type() == ScalarType::Double) {
    return run<double>(rows, columns, labels, ref_labels, copies, itself, scale);
  }
  check(rows.scalar_type() == ScalarType::Float, "label_means: rows must be float32 or float64");
  return run<float>(rows, columns, labels, ref_labels, copies, itself, scale);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("label_means", TORCH_BOX(&label_means)); }

}  // namespace sslfast::ops
