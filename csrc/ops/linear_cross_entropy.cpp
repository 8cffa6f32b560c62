// Cross-entropy of hidden rows against the classes of a linear layer (V, D) on the CPU, loss and gradients in one pass.
// Only rows with a target are ever read: they are gathered first, N of them. Products make the logits of a strip of
// rows with all classes, csrc/cpu adds up the softmax of each tile of them while it is in L2 and, once that of the
// strip is known, turns them into gradients that two more products take to rows and classes. FLOPs: 2 N V D, and
// 2 N V D for each side that needs a gradient; two exponentials a logit. Memory: a strip, of the size of the sides or
// 2 MiB, beside inputs and outputs. The GPU implementation is kernels/linear_cross_entropy.py.
#include "sslfast/linear_cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "tile_products.h"

namespace sslfast::ops {
namespace {

constexpr int64_t kRows = 256, kCols = 512;  // a float tile is 512 KiB and stays in L2
constexpr int64_t kHeld = 1 << 19;           // numbers of a strip, or two for every number of the sides,
constexpr int64_t kLeast = 16;               // or as many rows: with fewer the products are slow

// Losses (R,), log-sum-exps (R,), sums of weighted logits (R,), logits of the targets (R,), the largest of the other
// classes (R,), and the gradients of hidden (T, D), of the classes (V, D) and of their bias (V,). A row without a
// target has zeros.
using Results = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// What a row r of the results is made of, for those that have a target; shared: it may be V, for one of another rank's
// classes, of which target has -1.
struct Picks {
  std::vector<int64_t> row, hidden, target;

  Picks(const Tensor& targets, const std::optional<Tensor>& index, int64_t hidden_rows, int64_t classes, bool shared) {
    for (int64_t r = 0; r < targets.size(0); ++r) {
      const int64_t at = index ? index->const_data_ptr<int64_t>()[r] : r;
      const int64_t own = targets.const_data_ptr<int64_t>()[r];
      check(own >= -1 && own < classes + shared && at >= -1 && at < hidden_rows,
            "linear_cross_entropy: a target or an index is out of range");
      if (own == -1 || at == -1) continue;
      row.push_back(r);
      hidden.push_back(at);
      target.push_back(own < classes ? own : -1);
    }
  }
  int64_t size() const { return static_cast<int64_t>(row.size()); }
};

struct Options {
  const std::optional<Tensor>&bias, &weights, &others, &class_weights, &elsewhere;
  double label_smoothing, softcap, z_loss;
  int64_t classes;  // of all ranks
  bool need_hidden, need_weight, need_bias;

  bool need() const { return need_hidden || need_weight || need_bias; }
};

struct Outputs {
  Tensor nll, lse, sums, own, top, d_hidden, d_weight, d_bias;
};

int64_t strip_rows(const Sides& sides, bool need) {
  const int64_t n = sides.rows.size(0), m = sides.columns.size(0);
  const int64_t held = std::max(kHeld, 2 * (n + m) * sides.rows.size(1));
  const int64_t most = std::min({kRows, n, need ? std::max(held / m, kLeast) : n});
  const int64_t strips = (n + most - 1) / most;
  return (n + strips - 1) / strips;  // as high as each other: no memory for rows that the last one lacks
}

template <typename T>
const T* numbers(const std::optional<Tensor>& t) {
  return t ? t->const_data_ptr<T>() : nullptr;
}

// Rows r of a vector that have a target, next to each other; empty for null.
template <typename T>
std::vector<T> picked(const T* from, const Picks& picks) {
  std::vector<T> out;
  if (from == nullptr) return out;
  out.reserve(picks.row.size());
  for (const int64_t r : picks.row) out.push_back(from[r]);
  return out;
}

template <typename Products>
void run(Products& products, const Sides& sides, const Picks& picks, const Options& in, Outputs& out) {
  using T = typename Products::Number;
  const int64_t n = picks.size(), m = sides.columns.size(0), d = sides.rows.size(1);
  const int64_t height = strip_rows(sides, in.need()), width = std::min(kCols, m);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  Tensor d_rows = empty({in.need_hidden ? n : 0, d}, kType<T>, sides.rows);
  Tensor strip = empty({height * (in.need() ? m : width)}, kType<T>, sides.rows);
  T *dq = d_rows.mutable_data_ptr<T>(), *dk = out.d_weight.mutable_data_ptr<T>();
  T* db = in.need_bias ? out.d_bias.mutable_data_ptr<T>() : nullptr;
  const std::vector<T> weights = picked(numbers<T>(in.weights), picks), others = picked(numbers<T>(in.others), picks);
  constexpr int64_t kVectors = 10;
  std::vector<T> vectors(kVectors * n);
  T* v = vectors.data();
  std::fill_n(v, n, -std::numeric_limits<T>::infinity());  // shift; the sums start at 0
  const T* elsewhere = numbers<T>(in.elsewhere);
  const std::vector<T> others_lse = picked(elsewhere, picks);
  if (elsewhere != nullptr) {
    const int64_t results = in.elsewhere->size(1);
    for (int64_t i = 0; i < n; ++i) v[2 * n + i] = elsewhere[results + picks.row[i]];
  }
  const T* c = numbers<T>(in.class_weights);
  const ClassTerms<T> terms{numbers<T>(in.bias),
                            c,
                            static_cast<T>(in.softcap),
                            static_cast<T>(1 - in.label_smoothing),
                            static_cast<T>(in.label_smoothing / static_cast<double>(in.classes)),
                            static_cast<T>(in.z_loss),
                            c != nullptr ? std::accumulate(c, c + m, T(0)) : static_cast<T>(in.classes)};
  const auto state = [&](int64_t row0) {
    const auto part = [&](int64_t k) { return v + k * n + row0; };
    return ClassRows<T>{picks.target.data() + row0,
                        others_lse.empty() ? nullptr : others_lse.data() + row0,
                        weights.empty() ? nullptr : weights.data() + row0,
                        others.empty() ? nullptr : others.data() + row0,
                        part(0),
                        part(1),
                        part(2),
                        part(3),
                        part(4),
                        part(5),
                        part(6),
                        part(7),
                        part(8),
                        part(9)};
  };
  const T* pairs = v + 9 * n;

  for (int64_t row0 = 0; row0 < n; row0 += height) {
    const int64_t r = std::min(height, n - row0);
    const ClassRows<T> rows = state(row0);
    const auto for_each_tile = [&](auto visit) {
      for (int64_t col0 = 0; col0 < m; col0 += width) {
        visit(TilePlace{row0, r, col0, std::min(width, m - col0)},
              strip.mutable_data_ptr<T>() + (in.need() ? r * col0 : 0));
      }
    };
    for_each_tile([&](const TilePlace& t, T* tile) {
      products.logits(t, tile, 1, 1);
      cpu::class_logits(tile, t.rows, t.cols, t.col0, rows, terms, threads);
    });
    cpu::class_rows(r, rows, terms);
    if (!in.need()) continue;
    for_each_tile([&](const TilePlace& t, T* tile) {
      cpu::class_gradients(tile, t.rows, t.cols, t.col0, rows, terms, db, threads);
      if (!in.need_hidden && !in.need_weight) return;
      products.weigh(t, tile, in.need_hidden, in.need_weight);
      // The first product of a slab overwrites it: nothing to clear beforehand.
      if (in.need_hidden) products.to_rows(t, tile, dq, 1, t.col0 > 0);
      if (in.need_weight) products.to_columns(t, tile, dk, 1, row0 > 0);
    });
  }
  const auto result = [](Tensor& t) { return t.mutable_data_ptr<T>(); };
  for (int64_t i = 0; i < n; ++i) {
    const int64_t r = picks.row[i];
    result(out.top)[r] = v[i];
    result(out.own)[r] = v[2 * n + i];
    result(out.sums)[r] = v[3 * n + i];
    result(out.nll)[r] = v[4 * n + i];
    result(out.lse)[r] = v[5 * n + i];
    if (db != nullptr && picks.target[i] >= 0) db[picks.target[i]] += pairs[i];
  }
  if (in.need_hidden || in.need_weight) {
    products.add_pairs(picks.target.data(), pairs, 1, in.need_hidden ? dq : nullptr, in.need_weight ? dk : nullptr);
  }
  if (!in.need_hidden) return;
  T* d_hidden = out.d_hidden.mutable_data_ptr<T>();
  for (int64_t i = 0; i < n; ++i) {
    T* to = d_hidden + picks.hidden[i] * d;
    for (int64_t k = 0; k < d; ++k) to[k] += dq[i * d + k];
  }
}

Tensor gathered(const Tensor& hidden, const Picks& picks) {
  Tensor rows = empty({picks.size(), hidden.size(1)}, hidden.scalar_type(), hidden);
  const int64_t bytes = hidden.element_size() * hidden.size(1);
  const auto* from = static_cast<const char*>(hidden.const_data_ptr());
  auto* to = static_cast<char*>(rows.mutable_data_ptr());
  for (int64_t i = 0; i < picks.size(); ++i) std::memcpy(to + i * bytes, from + picks.hidden[i] * bytes, bytes);
  return rows;
}

Tensor zeros(std::initializer_list<int64_t> sizes, ScalarType type, const Tensor& like) {
  Tensor t = empty(sizes, type, like);
  std::memset(t.mutable_data_ptr(), 0, t.numel() * t.element_size());
  return t;
}

Results linear_cross_entropy(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                             const std::optional<Tensor>& index, const std::optional<Tensor>& bias,
                             const std::optional<Tensor>& weights, const std::optional<Tensor>& others,
                             const std::optional<Tensor>& class_weights, double label_smoothing, double softcap,
                             double z_loss, bool need_hidden, bool need_weight, bool need_bias,
                             const std::optional<Tensor>& elsewhere, int64_t num_classes) {
  for (const Tensor* t : {&hidden, &weight}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->size(1) > 0,
          "linear_cross_entropy: hidden and weight must be contiguous matrices");
  }
  const std::optional<Tensor> none;
  check(weight.size(0) > 0 && weight.scalar_type() == hidden.scalar_type() && weight.size(1) == hidden.size(1),
        "linear_cross_entropy: weight must have the dtype and the width of hidden, and a class at least");
  const ScalarType type = sum_type(hidden.scalar_type());
  const int64_t n = targets.size(0), m = weight.size(0), d = hidden.size(1);
  const auto is_vector = [](const std::optional<Tensor>& t, int64_t size, ScalarType dtype) {
    return !t ||
           (t->is_cpu() && t->scalar_type() == dtype && t->dim() == 1 && t->is_contiguous() && t->size(0) == size);
  };
  check(is_vector(std::optional<Tensor>(targets), index ? n : hidden.size(0), ScalarType::Long) &&
            is_vector(index, n, ScalarType::Long),
        "linear_cross_entropy: targets and index must be int64 vectors, one number a row");
  check(is_vector(bias, m, type) && is_vector(class_weights, m, type) && is_vector(weights, n, type) &&
            is_vector(others, n, type),
        "linear_cross_entropy: bias and weights must be vectors of float64 for float64 rows, else float32");

  check(!elsewhere || (elsewhere->is_cpu() && elsewhere->scalar_type() == type && elsewhere->dim() == 2 &&
                       elsewhere->is_contiguous() && elsewhere->size(0) == 2 && elsewhere->size(1) == n),
        "linear_cross_entropy: elsewhere must be (2, R), of the dtype of the results");
  check(
      num_classes == 0 ? !elsewhere : elsewhere && num_classes >= m && !class_weights,
      "linear_cross_entropy: num_classes goes with elsewhere, is no less than the classes here, and knows no weights");

  const Picks picks(targets, index, hidden.size(0), m, elsewhere.has_value());
  const Options in{bias,          weights,     others,
                   class_weights, elsewhere,   label_smoothing,
                   softcap,       z_loss,      num_classes == 0 ? m : num_classes,
                   need_hidden,   need_weight, need_bias};
  Outputs out{
      zeros({n}, type, hidden),
      zeros({n}, type, hidden),
      zeros({n}, type, hidden),
      zeros({n}, type, hidden),
      zeros({n}, type, hidden),
      zeros({need_hidden ? hidden.size(0) : 0, d}, type, hidden),
      picks.size() > 0 ? empty({need_weight ? m : 0, d}, type, hidden) : zeros({need_weight ? m : 0, d}, type, hidden),
      zeros({need_bias ? m : 0}, type, hidden)};
  if (picks.size() > 0) {
    const Tensor rows = gathered(hidden, picks);
    const Sides sides{rows, weight, none, none};
    sides.check();
    with_products(sides, in.need() ? strip_rows(sides, true) : 0, in.need() ? std::min(kCols, m) : 0,
                  [&](auto& products) {
                    run(products, sides, picks, in, out);
                    return 0;
                  });
  }
  return {out.nll, out.lse, out.sums, out.own, out.top, out.d_hidden, out.d_weight, out.d_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("linear_cross_entropy", TORCH_BOX(&linear_cross_entropy)); }

}  // namespace sslfast::ops
