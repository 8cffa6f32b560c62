// sslfast._host: csrc/cpu over NumPy arrays, for DataLoader workers and for people without torch tensors.
// sslfast/host is the public face and checks the arguments; here the GIL is released and the kernel called.
#include "../cpu/isa.h"
#include "arrays.h"

PYBIND11_MODULE(_host, m) {
  using namespace sslfast;
  m.doc() = "sslfast's CPU kernels over NumPy arrays; see sslfast.host";
  m.def("instruction_set", &cpu::instruction_set);
  host::bind_batch_mix(m);
  host::bind_audio_augment(m);
  host::bind_block_mask(m);
  host::bind_cell_mask(m);
  host::bind_dino_mask(m);
  host::bind_fairseq_span_mask(m);
  host::bind_jepa_mask(m);
  host::bind_mask_indices(m);
  host::bind_pad_sequences(m);
  host::bind_patch_mask(m);
  host::bind_philox_words(m);
  host::bind_token_mask(m);
  host::bind_negative_indices(m);
  host::bind_feature_corruption(m);
  host::bind_random_erase(m);
  host::bind_feature_noise(m);
  host::bind_span_corruption(m);
  host::bind_graph_mask(m);
  host::bind_frame_indices(m);
  host::bind_gumbel_sample(m);
  host::bind_image_augment(m);
  host::bind_item_mask(m);
  host::bind_permutation_mask(m);
  host::bind_spec_augment(m);
  host::bind_text_span_mask(m);
  host::bind_time_span_mask(m);
  host::bind_token_augment(m);
  host::bind_whole_word_mask(m);
}
