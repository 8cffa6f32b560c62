#include "sslfast/philox_words.h"

#include "tensor.h"

namespace sslfast::ops {

// The GPU implementation is kernels/philox.py: this file is compiled for the CPU key only.
static Tensor philox_words(const Tensor& like, const Tensor& seed, int64_t stream, int64_t rows, int64_t elements,
                           int64_t row_offset) {
  check(rows >= 0 && elements >= 0, "philox_words: rows and elements must not be negative");
  Tensor out = empty({rows, elements, 4}, ScalarType::Int, like);
  const PhiloxWords params{read_seed(seed), static_cast<uint32_t>(stream),  row_offset, rows,
                           elements,        out.mutable_data_ptr<int32_t>()};
  launch([](const PhiloxWords& p, int threads) { cpu::philox_words(p, threads); }, params, like);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(sslfast, CPU, m) { m.impl("philox_words", TORCH_BOX(&philox_words)); }

}  // namespace sslfast::ops
