// What the losses of few_pairs may have beside sides and numbers, and which of it goes together.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "sslfast/positive_pairs.h"
#include "tensor.h"

namespace sslfast::ops {

constexpr int64_t kTwoWays = 1, kSigmoid = 2;  // kinds of losses; 0: a softmax of every row

struct PairOptions {
  double smoothing;
  std::optional<double> margin;
  double tau_plus;
  const std::optional<Tensor>&factors, &positives, &row_ids, &col_ids;

  // Whether smoothing is over what ids and a margin leave, or the columns' is over fewer than the rows'.
  bool smooths_counted(int64_t kind, int64_t n, int64_t m) const {
    return kind != kSigmoid && smoothing > 0 && (margin || row_ids || (kind == kTwoWays && m > n));
  }
  // Whether rows and columns have other candidates than each other's, or smoothing has to count them.
  bool apart(int64_t kind, int64_t n, int64_t m) const {
    return kind == kTwoWays && (margin || m > n || smooths_counted(kind, n, m));
  }

  // What holds for any losses of rows, each with a column for its positive, and maybe columns further to those.
  void check_tensors(const Tensor& rows, const Tensor& columns, ScalarType wide, bool further = false) const {
    const int64_t n = rows.size(0), m = columns.size(0);
    const auto fits = [](const std::optional<Tensor>& t, int64_t size, ScalarType type) {
      return !t ||
             (t->is_cpu() && t->is_contiguous() && t->scalar_type() == type && t->dim() == 1 && t->size(0) == size);
    };
    ops::check(smoothing >= 0 && smoothing <= 1, "few_pairs: smoothing must be in [0, 1]");
    ops::check(tau_plus >= 0 && tau_plus < 1, "few_pairs: tau_plus must be in [0, 1)");
    ops::check(fits(factors, n, wide), "few_pairs: factors must be of the type of the sums, one a row");
    ops::check(fits(positives, n, ScalarType::Long) && fits(row_ids, n, ScalarType::Long) &&
                   fits(col_ids, m, ScalarType::Long) && row_ids.has_value() == col_ids.has_value(),
               "few_pairs: positives and ids must be int64, one a row or column");
    ops::check(positives ? are_columns(m) : n == m || (further && n < m),
               "few_pairs: every row must have a column for its positive");
  }

  void check(const Tensor& rows, const Tensor& columns, ScalarType wide, int64_t kind) const {
    // Of both ways columns beyond the rows' number are negatives of the rows alone.
    check_tensors(rows, columns, wide, kind == kTwoWays);
    ops::check(kind != kSigmoid || !(tau_plus > 0 || factors || positives),
               "few_pairs: tau_plus, factors and positives go with softmax losses");
    ops::check(kind != kTwoWays || !positives, "few_pairs: positives go with losses of rows alone");
  }

  // The column of every row's positive: those given, or all in order, which the vector holds then.
  const int64_t* columns_of_positives(int64_t n, std::vector<int64_t>& in_order) const {
    if (positives) return positives->const_data_ptr<int64_t>();
    in_order.resize(n);
    std::iota(in_order.begin(), in_order.end(), int64_t{0});
    return in_order.data();
  }

 private:
  bool are_columns(int64_t m) const {
    const int64_t* p = positives->const_data_ptr<int64_t>();
    return std::all_of(p, p + positives->size(0), [&](int64_t j) { return j >= 0 && j < m; });
  }
};

// How many epsilons of their sizes' product two inner products of the same d numbers may differ by, which are summed in
// other orders. A rounding is half an epsilon of the partial sum at most, and as often up as down: d of each sum, of
// partial sums that grow evenly, let the two differ by sqrt(d) / 6 in the root mean square. This is 6 times as much,
// and sums in blocks differ by less. (Where all products are alike roundings may go one way, up to d / 4.)
inline double sum_roundings(int64_t d) { return std::max(16.0, std::sqrt(static_cast<double>(d))); }

// What similarities of a row's negatives may be above its positive's: the margin and, of q (N, D) and k (M, D), the
// roundings of the row's size times that of its positive. They come from products in another order, and what equals
// the limit, as a copy of the positive at a margin of 0, must not fall on either side by chance.
template <typename T>
std::vector<T> allowances(const Tensor& q, const Tensor& k, const int64_t* positives, bool normalized, double margin) {
  const int64_t n = q.size(0), d = q.size(1);
  const double roundings = sum_roundings(d) * static_cast<double>(std::numeric_limits<T>::epsilon());
  std::vector<T> above(n, static_cast<T>(margin + roundings));
  if (normalized) return above;
  const auto squares = [&](const Tensor& side) {
    std::vector<int64_t> itself(side.size(0));
    std::iota(itself.begin(), itself.end(), int64_t{0});
    std::vector<T> sums(side.size(0));
    const T* z = side.const_data_ptr<T>();
    cpu::pair_logits(PositivePairs<T, T>{z, z, nullptr, nullptr, itself.data(), nullptr, side.size(0), d}, 1,
                     sums.data(), 1);
    return sums;
  };
  const std::vector<T> of_rows = squares(q), of_columns = squares(k);
  for (int64_t i = 0; i < n; ++i) {
    const double size =
        std::sqrt(static_cast<double>(of_rows[i])) * std::sqrt(static_cast<double>(of_columns[positives[i]]));
    above[i] = static_cast<T>(margin + roundings * size);
  }
  return above;
}

}  // namespace sslfast::ops
