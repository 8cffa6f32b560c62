// The arguments of the losses with labels of small batches: rows (N, D) and labels (N), and references (M, D) with
// theirs, or none where rows are compared with one another.
#pragma once

#include <algorithm>
#include <optional>

#include "dtype.h"
#include "points.h"
#include "sslfast/labelled_rows.h"
#include "tile_products.h"

namespace sslfast::ops {

struct SmallBatch {
  const Tensor &z, &labels;
  const std::optional<Tensor>&ref_emb, &ref_labels, &copies;

  int64_t rows() const { return z.size(0); }
  int64_t width() const { return z.size(1); }
  int64_t references() const { return ref_emb ? ref_emb->size(0) : 0; }
  int64_t columns() const { return ref_emb ? ref_emb->size(0) : z.size(0); }
  int64_t all() const { return rows() + references(); }
  TilePlace place() const { return {0, rows(), 0, columns()}; }
  ScalarType dtype() const { return wide(z.scalar_type()); }
  // How many of the points take a gradient.
  int64_t learning(bool need_grad, bool need_ref_grad) const {
    ops::check(!need_ref_grad || (ref_emb && need_grad),
               "sslfast: a gradient of references goes with references and a gradient of the rows");
    return need_ref_grad ? all() : need_grad ? rows() : 0;
  }

  void check() const {
    check_side(z, labels);
    ops::check(ref_emb.has_value() == ref_labels.has_value() && (ref_emb || !copies),
               "sslfast: references, their labels and copies go together");
    if (ref_emb) {
      check_side(*ref_emb, *ref_labels);
      ops::check(ref_emb->size(1) == width() && wide(ref_emb->scalar_type()) == dtype(),
                 "sslfast: references must be of the rows' width and type of sums");
    }
    // So that indices are int32, and the matrix is no more than 2^30 numbers.
    ops::check(all() <= kMost && rows() <= kMost / columns(), "sslfast: a small batch has at most 2^30 pairs");
    if (copies) {
      check_numbers(*copies, rows());
      const auto* first = copies->const_data_ptr<int64_t>();
      ops::check(std::all_of(first, first + rows(), [&](int64_t j) { return -1 <= j && j < references(); }),
                 "sslfast: copies must be references or -1");
    }
  }

  // Unit rows of both sides, one after the other.
  template <typename T>
  void normalise(T* units, T* norms, int threads) const {
    ops::normalise(z, units, norms, threads);
    if (ref_emb) ops::normalise(*ref_emb, units + rows() * width(), norms + rows(), threads);
  }
  template <typename T>
  LabelledRows<T> sides(const T* points) const {
    const auto numbers = [](const std::optional<Tensor>& t) { return t ? t->const_data_ptr<int64_t>() : nullptr; };
    return {points,         labels.const_data_ptr<int64_t>(), rows(), width(), numbers(ref_labels), references(),
            numbers(copies)};
  }
  // Returns run(products), with those of the points, which lie as those of sides() do.
  template <typename Run>
  void with_products(const Tensor& points, Run run) const {
    const std::optional<Tensor> none;
    if (!ref_emb) {
      ops::with_products(Sides{points, points, none, none}, 0, 0, run);
    } else if (dtype() == ScalarType::Double) {
      with_slabs(points.const_data_ptr<double>(), run);
    } else {
      with_slabs(points.const_data_ptr<float>(), run);
    }
  }
  // grad <- factor * the products of weights with the points, of the rows and, where `learning` says so, of references.
  template <typename Products, typename T>
  void to_points(Products& products, const T* weights, T* grad, double factor, int64_t learning) const {
    products.to_rows(place(), weights, grad, factor, false);
    if (learning > rows()) products.to_columns(place(), weights, grad + rows() * width(), factor, false);
  }

 private:
  static constexpr int64_t kMost = int64_t{1} << 30;

  static void check_numbers(const Tensor& t, int64_t rows) {
    ops::check(t.is_cpu() && t.is_contiguous() && t.scalar_type() == ScalarType::Long && t.numel() == rows,
               "sslfast: labels must be int64, one a row");
  }
  static void check_side(const Tensor& x, const Tensor& numbers) {
    const ScalarType type = x.scalar_type();
    ops::check(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
                   type == ScalarType::Half,
               "sslfast: rows must be floating point");
    ops::check(x.is_cpu() && x.dim() == 2 && x.size(0) > 0 && x.size(1) > 0 && (x.stride(1) == 1 || x.size(1) == 1),
               "sslfast: rows must be (N, D), N, D >= 1, each contiguous");
    check_numbers(numbers, x.size(0));
  }

  template <typename T, typename Run>
  void with_slabs(const T* points, Run run) const {
    const Tensor first = slab(points, 0, rows(), width()), second = slab(points, rows(), references(), width());
    const std::optional<Tensor> none;
    ops::with_products(Sides{first, second, none, none}, 0, 0, run);
  }
};

}  // namespace sslfast::ops
