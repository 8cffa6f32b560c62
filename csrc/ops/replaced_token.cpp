#include "sslfast/replaced_token.h"

#include <optional>
#include <tuple>

#include "dtype.h"

namespace sslfast::ops {

static NumberType read_numbers_type(ScalarType type) {
  switch (type) {
    case ScalarType::Bool:
    case ScalarType::Byte:
    case ScalarType::Char:
      return NumberType::kInt8;
    case ScalarType::Short:
      return NumberType::kInt16;
    case ScalarType::Int:
      return NumberType::kInt32;
    case ScalarType::Long:
      return NumberType::kInt64;
    case ScalarType::Float:
      return NumberType::kFloat32;
    case ScalarType::Double:
      return NumberType::kFloat64;
    case ScalarType::BFloat16:
      return NumberType::kBfloat16;
    default:
      check(type == ScalarType::Half, "replaced_token: labels must be bool, integers or floating point");
      return NumberType::kFloat16;
  }
}

static TokenNumbers read_numbers(const Tensor& numbers, const Tensor& logits) {
  check(here(numbers) && numbers.dim() == 2 && numbers.size(0) == logits.size(0) && numbers.size(1) == logits.size(1),
        "replaced_token: replaced and attention_mask must have the shape of logits");
  return {numbers.const_data_ptr(), read_numbers_type(numbers.scalar_type()), numbers.stride(0), numbers.stride(1)};
}

static bool in_line(int64_t length, int64_t row_stride, int64_t stride) { return row_stride == length * stride; }

static ReplacedToken read(const Tensor& logits, const Tensor& replaced, const std::optional<Tensor>& attention_mask) {
  check(logits.dim() == 2 && here(logits), "replaced_token: logits must be (rows, length)");
  ReplacedToken p{};
  p.logits = logits.const_data_ptr();
  p.dtype = read_dtype(logits.scalar_type());
  p.rows = logits.size(0);
  p.length = logits.size(1);
  p.row_stride = logits.stride(0);
  p.stride = logits.stride(1);
  p.replaced = read_numbers(replaced, logits);
  if (attention_mask) {
    p.attention_mask = read_numbers(*attention_mask, logits);
    check(p.attention_mask.type <= NumberType::kInt64, "replaced_token: attention_mask must be bool or integers");
  }
  return p;
}

// One row, where every token of every tensor is as far from the one before, across rows too.
static void join_rows(ReplacedToken& p) {
  const TokenNumbers& mask = p.attention_mask;
  if (in_line(p.length, p.row_stride, p.stride) && in_line(p.length, p.replaced.row_stride, p.replaced.stride) &&
      (!mask.data || in_line(p.length, mask.row_stride, mask.stride)) &&
      (!p.weights || in_line(p.length, p.weight_row_stride, p.weight_stride))) {
    p.length *= p.rows;
    p.rows = 1;
    p.row_stride = p.length * p.stride;
    p.replaced.row_stride = p.length * p.replaced.stride;
    p.attention_mask.row_stride = p.length * mask.stride;
    p.weight_row_stride = p.length * p.weight_stride;
  }
}

static std::tuple<Tensor, Tensor, Tensor> replaced_token(const Tensor& logits, const Tensor& replaced,
                                                         const std::optional<Tensor>& attention_mask,
                                                         const std::optional<Tensor>& items, double divisor,
                                                         bool each_token, bool need_grad) {
  ReplacedToken p = read(logits, replaced, attention_mask);
  const ScalarType sums = wide(logits.scalar_type());
  check(divisor >= 0.0 && !(each_token && need_grad), "replaced_token: a divisor below 0, or a gradient of no sum");
  if (items) {
    check(here(*items) && items->numel() == 1 && items->scalar_type() == sums,
          "replaced_token: items must be one number of the type of sums");
    p.items = items->const_data_ptr();
  }
  p.divisor = divisor;
  const int64_t scratch = each_token ? 0 : partial_sums(p.rows * p.length);
  Tensor losses = each_token ? empty({p.rows, p.length}, sums, logits) : empty({}, sums, logits);
  Tensor share = empty({each_token ? 0 : 1}, sums, logits);
  Tensor grad =
      need_grad ? empty({p.rows, p.length}, logits.scalar_type(), logits) : empty({0}, logits.scalar_type(), logits);
  Tensor partial = empty({2, scratch}, ScalarType::Double, logits);  // sums, and counts, which are as wide
  p.losses = data_if(each_token, losses);
  p.total = data_if(!each_token, losses);
  p.share = data_if(!each_token, share);
  p.grad = data_if(need_grad, grad);
  p.partial = partial.mutable_data_ptr<double>();
  p.counts = reinterpret_cast<int64_t*>(p.partial + scratch);
  join_rows(p);
  launch([](const ReplacedToken& params, auto where) { return backend::replaced_token(params, where); }, p, logits);
  return {losses, share, grad};
}

static Tensor replaced_token_backward(const Tensor& weights, const Tensor& logits, const Tensor& replaced,
                                      const std::optional<Tensor>& attention_mask) {
  ReplacedToken p = read(logits, replaced, attention_mask);
  check(here(weights) && weights.scalar_type() == wide(logits.scalar_type()) &&
            (weights.numel() == 1 || (weights.dim() == 2 && weights.size(0) == p.rows && weights.size(1) == p.length)),
        "replaced_token_backward: weights must be one number, or have the shape of logits, of the type of sums");
  const bool each_token = weights.numel() != 1;
  p.weights = weights.const_data_ptr();
  p.weight_row_stride = each_token ? weights.stride(0) : 0;
  p.weight_stride = each_token ? weights.stride(1) : 0;
  Tensor grad = empty({p.rows, p.length}, logits.scalar_type(), logits);
  p.grad = grad.mutable_data_ptr();
  join_rows(p);
  launch([](const ReplacedToken& params, auto where) { return backend::replaced_token(params, where); }, p, logits);
  return grad;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) {
  m.impl("replaced_token", TORCH_BOX(&replaced_token));
  m.impl("replaced_token_backward", TORCH_BOX(&replaced_token_backward));
}

}  // namespace sslfast::ops
