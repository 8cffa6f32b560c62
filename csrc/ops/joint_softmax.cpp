// Losses of few queries among all their candidates, from the similarities of these, and the weights of the similarities
// in the gradients, on the CPU: one pass over the matrix, between products that losses/_few_joint.py makes in torch. A
// GPU takes the operators in tiles.
#include "sslfast/joint_softmax.h"

#include <numeric>
#include <tuple>
#include <vector>

#include "few_pairs_options.h"
#include "wide_side.h"

namespace sslfast::ops {
namespace {

struct Request {
  JointKinds kinds;
  int64_t hard_begin, hard_end;
  double strength;
  bool normalized, each, weigh;
  double share;
  const PairOptions& options;
};

template <typename T>
std::tuple<Tensor, Tensor, Tensor, Tensor> run(const Tensor& similar, const Tensor& query, const Tensor& keys,
                                               double given_scale, const Request& r) {
  const int64_t n = query.size(0), m = keys.size(0), d = query.size(1), columns = similar.size(1);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const double scale = static_cast<T>(given_scale);
  const auto numbers = [](const std::optional<Tensor>& t) { return t ? t->const_data_ptr<int64_t>() : nullptr; };
  std::vector<int64_t> in_order;
  const int64_t* positives = r.options.columns_of_positives(n, in_order);
  const PositivePairs<T, double> pairs{
      query.const_data_ptr<T>(), keys.const_data_ptr<T>(), nullptr, nullptr, positives, nullptr, n, d};
  std::vector<double> own(n), positive(n);
  cpu::pair_logits(pairs, 1, own.data(), 1);
  for (int64_t i = 0; i < n; ++i) positive[i] = scale * own[i];
  std::vector<T> limits;
  if (r.options.margin) {
    limits = allowances<T>(query, keys, positives, r.normalized, *r.options.margin);
    for (int64_t i = 0; i < n; ++i) limits[i] = static_cast<T>(positive[i] + scale * static_cast<double>(limits[i]));
  }
  std::vector<double> losses(n), slopes(r.weigh ? n : 0), of_scale(r.weigh ? n : 0);
  Tensor weights = r.weigh ? empty({n, columns}, kType<T>, query) : empty({0, 0}, kType<T>, query);
  cpu::joint_softmax(JointRows<T>{similar.const_data_ptr<T>(),
                                  n,
                                  m,
                                  columns,
                                  r.kinds,
                                  positives,
                                  numbers(r.options.row_ids),
                                  numbers(r.options.col_ids),
                                  r.hard_begin,
                                  r.hard_end,
                                  positive.data(),
                                  r.options.margin ? limits.data() : nullptr,
                                  r.options.factors ? r.options.factors->const_data_ptr<T>() : nullptr,
                                  scale,
                                  r.strength,
                                  r.options.smoothing,
                                  r.options.tau_plus,
                                  r.share,
                                  losses.data(),
                                  r.weigh ? weights.mutable_data_ptr<T>() : nullptr,
                                  slopes.data(),
                                  of_scale.data()},
                     threads);
  const auto filled = [](Tensor result, const std::vector<double>& values, double factor) {
    T* to = result.mutable_data_ptr<T>();
    for (const double value : values) *to++ = static_cast<T>(factor * value);
    return result;
  };
  const auto reduced = [&](const std::vector<double>& values) {
    return r.each ? filled(empty({static_cast<int64_t>(values.size())}, kType<T>, query), values, 1)
                  : scalar<T>(std::accumulate(values.begin(), values.end(), 0.0), query);
  };
  if (r.weigh) {
    for (int64_t i = 0; i < n; ++i) of_scale[i] += slopes[i] * own[i];
  }
  // As a column, which rows are multiplied by.
  const Tensor of_positives = filled(empty({static_cast<int64_t>(slopes.size()), 1}, kType<T>, query), slopes, scale);
  return {reduced(losses), weights, of_positives, reduced(of_scale)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> joint_softmax(
    const Tensor& similar, const Tensor& query, const Tensor& keys, const std::optional<Tensor>& scale,
    double known_scale, double share, bool key_to_query, bool symmetric, bool key_negatives, bool query_negatives,
    bool in_batch, int64_t hard_begin, int64_t hard_end, double strength, bool normalized, bool each, bool weigh,
    double smoothing, std::optional<double> margin, double tau_plus, const std::optional<Tensor>& factors,
    const std::optional<Tensor>& positives, const std::optional<Tensor>& query_ids,
    const std::optional<Tensor>& key_ids) {
  const ScalarType type = similar.scalar_type();
  check(type == ScalarType::Float || type == ScalarType::Double, "joint_softmax: similar must be float32 or float64");
  for (const Tensor* t : {&similar, &query, &keys}) {
    check(t->is_cpu() && t->dim() == 2 && t->is_contiguous() && t->scalar_type() == type && t->size(0) > 0,
          "joint_softmax: similar, query and keys must be contiguous matrices of one type, with a row at least");
  }
  const int64_t n = query.size(0), m = keys.size(0), columns = similar.size(1);
  const JointKinds kinds{key_to_query, symmetric, key_negatives, query_negatives, in_batch};
  check(similar.size(0) == n && keys.size(1) == query.size(1) && columns >= kinds.columns(n, m),
        "joint_softmax: similar must have a row for every query, and the columns of its kinds");
  check(0 <= hard_begin && hard_begin <= hard_end && hard_end <= columns,
        "joint_softmax: hard columns must be among those of similar");
  check(!(share < 0), "joint_softmax: share must not be negative");  // NaN of factors goes on into the loss
  const PairOptions options{smoothing, margin, tau_plus, factors, positives, query_ids, key_ids};
  options.check_tensors(query, keys, type);
  const Request request{kinds, hard_begin, hard_end, strength, normalized, each, weigh, share, options};
  const double s = number(scale, known_scale);
  return type == ScalarType::Double ? run<double>(similar, query, keys, s, request)
                                    : run<float>(similar, query, keys, s, request);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("joint_softmax", TORCH_BOX(&joint_softmax)); }

}  // namespace sslfast::ops
