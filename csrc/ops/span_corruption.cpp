#include "sslfast/span_corruption.h"

#include <tuple>

#include "tensor.h"

namespace sslfast::ops {

using Corrupted = std::tuple<Tensor, Tensor, Tensor>;

struct Numbers {
  int64_t sentinel, sentinel_step;
  std::optional<int64_t> eos;
  int64_t pad, ignore_index;
};

template <typename Id>
static Corrupted run(const Tensor& ids, const std::optional<Tensor>& lengths, const Tensor& seed,
                     const std::optional<Tensor>& sample_ids, double noise_density, double mean_span, bool anywhere,
                     const Numbers& numbers, int64_t input_length, int64_t target_length, int64_t row_offset) {
  SpanCorruption<Id> p{};
  p.rows = ids.size(0);
  p.length = ids.size(1);
  Tensor inputs = empty({p.rows, input_length}, ids.scalar_type(), ids);
  Tensor targets = empty({p.rows, target_length}, ids.scalar_type(), ids);
  Tensor input_lengths = empty({p.rows}, ScalarType::Long, ids);
  p.ids = ids.const_data_ptr<Id>();
  p.ids_row_stride = ids.stride(0);
  p.ids_stride = ids.stride(1);
  p.lengths = lengths ? lengths->const_data_ptr<int64_t>() : nullptr;
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.noise_density = noise_density;
  p.mean_span = mean_span;
  p.anywhere = anywhere;
  p.sentinel = static_cast<Id>(numbers.sentinel);
  p.sentinel_step = numbers.sentinel_step;
  p.append_eos = numbers.eos.has_value();
  p.eos = static_cast<Id>(numbers.eos.value_or(0));
  p.pad = static_cast<Id>(numbers.pad);
  p.ignore_index = static_cast<Id>(numbers.ignore_index);
  p.input_length = input_length;
  p.target_length = target_length;
  p.inputs = inputs.mutable_data_ptr<Id>();
  p.targets = targets.mutable_data_ptr<Id>();
  p.input_lengths = input_lengths.mutable_data_ptr<int64_t>();
  launch([](const auto& params, auto where) { return backend::span_corruption(params, where); }, p, ids);
  return {inputs, targets, input_lengths};
}

static Corrupted span_corruption(const Tensor& ids, const std::optional<Tensor>& lengths, const Tensor& seed,
                                 const std::optional<Tensor>& sample_ids, double noise_density, double mean_span,
                                 bool anywhere, int64_t sentinel, int64_t sentinel_step, std::optional<int64_t> eos,
                                 int64_t pad, int64_t ignore_index, int64_t input_length, int64_t target_length,
                                 int64_t row_offset) {
  check(ids.dim() == 2 && here(ids), "span_corruption: ids must be (rows, length)");
  check(!lengths || (lengths->scalar_type() == ScalarType::Long && lengths->dim() == 1 && here(*lengths) &&
                     lengths->size(0) == ids.size(0) && lengths->is_contiguous()),
        "span_corruption: lengths must be contiguous int64, one a row");
  check(ids.size(1) < int64_t{1} << 32, "span_corruption: rows of at most 2^32 - 1 tokens");
  check(input_length >= 0 && target_length >= 0, "span_corruption: negative size");
  check(noise_density > 0 && noise_density < 1 && mean_span >= 1, "span_corruption: density or mean out of range");
  const auto dtype = ids.scalar_type();
  check(dtype == ScalarType::Int || dtype == ScalarType::Long, "span_corruption: ids must be int32 or int64");
  return (dtype == ScalarType::Int ? run<int32_t> : run<int64_t>)(ids, lengths, seed, sample_ids, noise_density,
                                                                  mean_span, anywhere,
                                                                  {sentinel, sentinel_step, eos, pad, ignore_index},
                                                                  input_length, target_length, row_offset);
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("span_corruption", TORCH_BOX(&span_corruption)); }

}  // namespace sslfast::ops
