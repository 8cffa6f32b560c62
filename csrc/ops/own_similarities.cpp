// Similarities of every query with keys of its own, and their gradients, on the CPU: the keys read once in each. A GPU
// runs losses/_hard.py in torch.
#include "sslfast/own_similarities.h"

#include <optional>
#include <tuple>

#include "dtype.h"

namespace sslfast::ops {
namespace {

template <typename Key, typename T>
OwnKeys<Key, T> read(const Tensor& query, const Tensor& keys) {
  return {query.const_data_ptr<T>(),
          static_cast<const Key*>(keys.const_data_ptr()),
          keys.size(0),
          keys.size(1),
          keys.size(2),
          query.stride(0),
          keys.stride(0),
          keys.stride(1)};
}

void check_keys(const Tensor& query, const Tensor& keys) {
  check(query.is_cpu() && keys.is_cpu() && query.dim() == 2 && keys.dim() == 3 && query.size(0) == keys.size(0) &&
            query.size(1) == keys.size(2),
        "own_similarities: query must be (N, D) and keys (N, K, D)");
  check(keys.size(2) <= 1 || (query.stride(1) == 1 && keys.stride(2) == 1),
        "own_similarities: rows of query and keys must be contiguous");
  check(query.scalar_type() == wide(keys.scalar_type()),
        "own_similarities: query must be float64 with float64 keys, float32 with others");
}

// Calls function with a value of the keys' type and one of the type of sums.
template <typename Function>
void by_keys(const Tensor& keys, Function function) {
  switch (read_dtype(keys.scalar_type())) {
    case Dtype::kFloat32:
      return function(float{}, float{});
    case Dtype::kFloat64:
      return function(double{}, double{});
    case Dtype::kBfloat16:
      return function(Brain16{}, float{});
    case Dtype::kFloat16:
      return function(Half16{}, float{});
  }
}

std::tuple<Tensor, Tensor> own_similarities(const Tensor& query, const Tensor& keys, bool normalize) {
  check_keys(query, keys);
  const int64_t rows = keys.size(0), count = keys.size(1);
  Tensor similarities = empty({rows, count}, query.scalar_type(), query);
  Tensor inverse_norms = empty({normalize ? rows : 0, count}, query.scalar_type(), query);
  by_keys(keys, [&]<typename Key, typename T>(Key, T) {
    launch(cpu::own_similarities<Key, T>,
           OwnSimilarities<Key, T>{read<Key, T>(query, keys), similarities.mutable_data_ptr<T>(),
                                   data_if<T>(normalize, inverse_norms)},
           query);
  });
  return {similarities, inverse_norms};
}

std::tuple<Tensor, Tensor> own_similarities_backward(const Tensor& grad, const Tensor& query, const Tensor& keys,
                                                     const std::optional<Tensor>& similarities,
                                                     const std::optional<Tensor>& inverse_norms, bool need_query,
                                                     bool need_keys) {
  check_keys(query, keys);
  const int64_t rows = keys.size(0), count = keys.size(1), width = keys.size(2);
  check(similarities.has_value() == inverse_norms.has_value(),
        "own_similarities_backward: similarities and inverse_norms go together");
  const Tensor* const numbers[] = {&grad, similarities ? &*similarities : &grad,
                                   inverse_norms ? &*inverse_norms : &grad};
  for (const Tensor* t : numbers) {
    check(t->is_cpu() && t->dim() == 2 && t->size(0) == rows && t->size(1) == count && t->is_contiguous() &&
              t->scalar_type() == query.scalar_type(),
          "own_similarities_backward: grad, similarities and inverse_norms must be contiguous (N, K), like the query");
  }
  Tensor grad_query = empty({need_query ? rows : 0, width}, query.scalar_type(), query);
  Tensor grad_keys = empty({need_keys ? rows : 0, count, width}, keys.scalar_type(), keys);
  by_keys(keys, [&]<typename Key, typename T>(Key, T) {
    launch(cpu::own_similarities_backward<Key, T>,
           OwnSimilaritiesBackward<Key, T>{read<Key, T>(query, keys), grad.const_data_ptr<T>(),
                                           similarities ? similarities->const_data_ptr<T>() : nullptr,
                                           inverse_norms ? inverse_norms->const_data_ptr<T>() : nullptr,
                                           data_if<T>(need_query, grad_query), data_if<Key>(need_keys, grad_keys)},
           query);
  });
  return {grad_query, grad_keys};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) {
  m.impl("own_similarities", TORCH_BOX(&own_similarities));
  m.impl("own_similarities_backward", TORCH_BOX(&own_similarities_backward));
}

}  // namespace sslfast::ops
