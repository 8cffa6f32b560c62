#include "sslfast/gumbel_sample.h"

#include "tensor.h"

namespace sslfast::ops {

template <typename In>
static void run(const Tensor& logits, const std::optional<Tensor>& positions, const Tensor& seed,
                const std::optional<Tensor>& sample_ids, double temperature, int64_t row_offset, Tensor& ids) {
  GumbelSample<In> p{};
  p.logits = static_cast<const In*>(logits.const_data_ptr());
  p.rows = logits.size(0);
  p.vocabulary = logits.size(1);
  p.row_stride = logits.stride(0);
  p.stride = logits.stride(1);
  p.positions = positions ? positions->const_data_ptr<int64_t>() : nullptr;
  p.seed = read_seed(seed);
  p.row_ids = read_rows(sample_ids, row_offset, p.rows);
  p.inverse_temperature = 1.0 / temperature;
  p.ids = ids.mutable_data_ptr<int64_t>();
  launch([](const auto& params, auto where) { return backend::gumbel_sample(params, where); }, p, logits);
}

static Tensor gumbel_sample(const Tensor& logits, const std::optional<Tensor>& positions, const Tensor& seed,
                            const std::optional<Tensor>& sample_ids, double temperature, int64_t row_offset) {
  check(logits.dim() == 2 && here(logits), "gumbel_sample: logits must be (rows, vocabulary)");
  check(!positions || (positions->scalar_type() == ScalarType::Long && positions->dim() == 1 && here(*positions) &&
                       positions->size(0) == logits.size(0) && positions->is_contiguous()),
        "gumbel_sample: positions must be contiguous int64, one a row");
  check(logits.size(1) <= int64_t{1} << 32, "gumbel_sample: at most 2^32 ids");
  check(temperature > 0, "gumbel_sample: temperature must be positive");
  Tensor ids = empty({logits.size(0)}, ScalarType::Long, logits);
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      run<float>(logits, positions, seed, sample_ids, temperature, row_offset, ids);
      break;
    case ScalarType::BFloat16:
      run<Brain16>(logits, positions, seed, sample_ids, temperature, row_offset, ids);
      break;
    case ScalarType::Half:
      run<Half16>(logits, positions, seed, sample_ids, temperature, row_offset, ids);
      break;
    default:
      check(false, "gumbel_sample: logits must be float32, bfloat16 or float16");
  }
  return ids;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, SSLFAST_KEY, m) { m.impl("gumbel_sample", TORCH_BOX(&gumbel_sample)); }

}  // namespace sslfast::ops
