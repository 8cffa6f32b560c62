#include "sslfast/token_mask.h"

#include "masked_tokens.h"

namespace sslfast::host {

template <typename Id>
static py::tuple token_mask(py::array_t<Id> ids, std::optional<py::array_t<bool>> special, uint64_t seed,
                            std::optional<Array<int64_t>> sample_ids, int64_t mask_token_id, int64_t vocab_size,
                            double mlm_probability, double mask_replace_prob, double random_replace_prob,
                            int64_t row_offset, std::optional<Array<int64_t>> random_ids, int64_t min_masked,
                            bool check_ids, int threads) {
  TokenMask<Id> p{};
  MaskedTokens<Id> out =
      read_tokens(p, ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                  random_replace_prob, row_offset, random_ids, min_masked, check_ids);
  {
    py::gil_scoped_release release;
    cpu::token_mask(p, threads);
  }
  return py::make_tuple(out.ids, out.labels, out.masked, out.counts);
}

void bind_token_mask(py::module_& m) {
  const auto of_dtype = [&m](auto function) {
    m.def("token_mask", function, py::arg().noconvert(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
          py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg());
  };
  of_dtype(&token_mask<int16_t>);
  of_dtype(&token_mask<int32_t>);
  of_dtype(&token_mask<int64_t>);
}

}  // namespace sslfast::host
