#include "sslfast/whole_word_mask.h"

#include "masked_tokens.h"

namespace sslfast::host {

// words: int64 with strides of whole elements, which sslfast/host/whole_word_mask.py has seen to.
template <typename Id>
static py::tuple whole_word_mask(py::array_t<Id> ids, py::array_t<int64_t> words,
                                 std::optional<py::array_t<bool>> special, uint64_t seed,
                                 std::optional<Array<int64_t>> sample_ids, int64_t mask_token_id, int64_t vocab_size,
                                 double mlm_probability, double mask_replace_prob, double random_replace_prob,
                                 bool replace_words, int64_t row_offset, std::optional<Array<int64_t>> random_ids,
                                 int64_t min_masked, std::optional<Array<int64_t>> budgets, bool check_ids,
                                 int threads) {
  WholeWordMask<Id> p{};
  MaskedTokens<Id> out =
      read_tokens<Id>(p, ids, special, seed, sample_ids, mask_token_id, vocab_size, mlm_probability, mask_replace_prob,
                      random_replace_prob, row_offset, random_ids, min_masked, check_ids);
  constexpr int64_t size = sizeof(int64_t);
  p.words = words.data();
  p.words_row_stride = words.strides(0) / size;
  p.words_stride = words.strides(1) / size;
  p.offsets = words.ndim() == 3;
  p.end_stride = p.offsets ? words.strides(2) / size : 0;
  p.replace_words = replace_words;
  p.budgets = budgets ? budgets->data() : nullptr;
  {
    py::gil_scoped_release release;
    cpu::whole_word_mask(p, threads);
  }
  return py::make_tuple(out.ids, out.labels, out.masked, out.counts);
}

void bind_whole_word_mask(py::module_& m) {
  const auto of_dtype = [&m](auto function) {
    m.def("whole_word_mask", function, py::arg().noconvert(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
          py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
          py::arg());
  };
  of_dtype(&whole_word_mask<int16_t>);
  of_dtype(&whole_word_mask<int32_t>);
  of_dtype(&whole_word_mask<int64_t>);
}

}  // namespace sslfast::host
