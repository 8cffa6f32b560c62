// sslfast._host: csrc/cpu over NumPy arrays, for DataLoader workers and for people without torch tensors.
// sslfast/host.py is the public face and checks the arguments; here the GIL is released and the kernel called.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../cpu/isa.h"
#include "sslfast/patch_mask.h"
#include "sslfast/philox_words.h"
#include "sslfast/token_mask.h"

namespace py = pybind11;
using namespace sslfast;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

static Array<int32_t> philox_words(uint64_t seed, uint32_t stream, int64_t rows, int64_t elements, int64_t row_offset,
                                   int threads) {
  Array<int32_t> out({rows, elements, int64_t{4}});
  const PhiloxWords params{{nullptr, seed}, stream, row_offset, rows, elements, out.mutable_data()};
  py::gil_scoped_release release;
  cpu::philox_words(params, threads);
  return out;
}

template <typename Id>
static py::tuple token_mask(py::array_t<Id> ids, std::optional<py::array_t<bool>> special, uint64_t seed,
                            int64_t mask_token_id, int64_t vocab_size, double mlm_probability, double mask_replace_prob,
                            double random_replace_prob, int64_t row_offset, int threads) {
  const int64_t rows = ids.shape(0), length = ids.shape(1);
  Array<Id> masked_ids({rows, length}), labels({rows, length});
  Array<int64_t> masked(rows * length), counts(rows);
  constexpr int64_t size = sizeof(Id);
  TokenMask<Id> p{};
  p.ids = ids.data();
  p.rows = rows;
  p.length = length;
  p.ids_row_stride = ids.strides(0) / size;
  p.ids_stride = ids.strides(1) / size;
  if (special) {
    p.special = special->data();
    p.special_row_stride = special->strides(0);
    p.special_stride = special->strides(1);
  }
  p.seed = {nullptr, seed};
  p.row_offset = row_offset;
  p.select_threshold = probability_threshold(mlm_probability);
  p.replace_threshold = probability_threshold(mask_replace_prob);
  p.random_threshold = p.replace_threshold + probability_threshold(random_replace_prob);
  p.mask_token_id = static_cast<Id>(mask_token_id);
  p.vocab_size = static_cast<uint64_t>(vocab_size);
  p.ignore_index = -100;
  p.masked_ids = masked_ids.mutable_data();
  p.labels = labels.mutable_data();
  p.masked = masked.mutable_data();
  p.counts = counts.mutable_data();
  {
    py::gil_scoped_release release;
    cpu::token_mask(p, threads);
  }
  return py::make_tuple(masked_ids, labels, masked);
}

static py::tuple patch_mask(uint64_t seed, int64_t rows, int64_t patches, int64_t keep, int64_t row_offset,
                            int threads) {
  Array<int64_t> ids_keep({rows, keep}), ids_restore({rows, patches});
  Array<bool> mask({rows, patches});
  const PatchMask params{
      {nullptr, seed},    rows, patches, keep, row_offset, ids_keep.mutable_data(), ids_restore.mutable_data(),
      mask.mutable_data()};
  {
    py::gil_scoped_release release;
    cpu::patch_mask(params, threads);
  }
  return py::make_tuple(ids_keep, ids_restore, mask);
}

PYBIND11_MODULE(_host, m) {
  m.doc() = "sslfast's CPU kernels over NumPy arrays; see sslfast.host";
  m.def("instruction_set", &cpu::instruction_set);
  m.def("patch_mask", &patch_mask);
  m.def("philox_words", &philox_words);
  m.def("token_mask", &token_mask<int32_t>, py::arg().noconvert(), py::arg(), py::arg(), py::arg(), py::arg(),
        py::arg(), py::arg(), py::arg(), py::arg(), py::arg());
  m.def("token_mask", &token_mask<int64_t>, py::arg().noconvert(), py::arg(), py::arg(), py::arg(), py::arg(),
        py::arg(), py::arg(), py::arg(), py::arg(), py::arg());
}
