#include "sslfast/philox_words.h"

#include "arrays.h"

namespace sslfast::host {

static Array<int32_t> philox_words(uint64_t seed, uint32_t stream, int64_t rows, int64_t elements, int64_t row_offset,
                                   int threads) {
  Array<int32_t> out({rows, elements, int64_t{4}});
  const PhiloxWords params{{nullptr, seed}, stream, row_offset, rows, elements, out.mutable_data()};
  py::gil_scoped_release release;
  cpu::philox_words(params, threads);
  return out;
}

void bind_philox_words(py::module_& m) { m.def("philox_words", &philox_words); }

}  // namespace sslfast::host
