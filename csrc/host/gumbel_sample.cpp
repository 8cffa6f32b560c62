#include "sslfast/gumbel_sample.h"

#include "arrays.h"

namespace sslfast::host {

// `half`: the array holds the bits of float16, for which C++ has no type that NumPy knows.
static Array<int64_t> gumbel_sample(py::array logits, bool half, std::optional<Array<int64_t>> positions, uint64_t seed,
                                    std::optional<Array<int64_t>> sample_ids, double temperature, int64_t row_offset,
                                    int threads) {
  Array<int64_t> ids(logits.shape(0));
  const auto run = [&](auto element) {
    using In = decltype(element);
    constexpr int64_t size = sizeof(In);
    const GumbelSample<In> p{static_cast<const In*>(logits.data()),
                             logits.shape(0),
                             logits.shape(1),
                             logits.strides(0) / size,
                             logits.strides(1) / size,
                             positions ? positions->data() : nullptr,
                             {nullptr, seed},
                             read_rows(sample_ids, row_offset),
                             1.0 / temperature,
                             ids.mutable_data()};
    py::gil_scoped_release release;
    cpu::gumbel_sample(p, threads);
  };
  if (half) {
    run(Half16{});
  } else {
    run(float{});
  }
  return ids;
}

void bind_gumbel_sample(py::module_& m) { m.def("gumbel_sample", &gumbel_sample); }

}  // namespace sslfast::host
