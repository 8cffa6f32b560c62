// What the bindings share: the types of arguments, and one function for each file that binds operators.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "sslfast/launch.h"

namespace sslfast::host {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// sslfast/host/_arguments.py has checked their number and that they lie in order.
inline Rows read_rows(const std::optional<Array<int64_t>>& sample_ids, int64_t row_offset) {
  return {sample_ids ? sample_ids->data() : nullptr, row_offset};
}

void bind_batch_mix(py::module_& m);
void bind_audio_augment(py::module_& m);
void bind_block_mask(py::module_& m);
void bind_cell_mask(py::module_& m);
void bind_dino_mask(py::module_& m);
void bind_fairseq_span_mask(py::module_& m);
void bind_jepa_mask(py::module_& m);
void bind_mask_indices(py::module_& m);
void bind_pad_sequences(py::module_& m);
void bind_patch_mask(py::module_& m);
void bind_philox_words(py::module_& m);
void bind_token_mask(py::module_& m);
void bind_negative_indices(py::module_& m);
void bind_feature_corruption(py::module_& m);
void bind_random_erase(py::module_& m);
void bind_feature_noise(py::module_& m);
void bind_span_corruption(py::module_& m);
void bind_graph_mask(py::module_& m);
void bind_frame_indices(py::module_& m);
void bind_gumbel_sample(py::module_& m);
void bind_image_augment(py::module_& m);
void bind_item_mask(py::module_& m);
void bind_permutation_mask(py::module_& m);
void bind_spec_augment(py::module_& m);
void bind_text_span_mask(py::module_& m);
void bind_time_span_mask(py::module_& m);
void bind_token_augment(py::module_& m);
void bind_whole_word_mask(py::module_& m);

}  // namespace sslfast::host
