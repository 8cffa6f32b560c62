// Every schema of the namespace. Implementations register beside their operator; Triton ones from sslfast/ops.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(sslfast, m) {
  m.def("philox_words(Tensor like, Tensor seed, int stream, int rows, int elements, int row_offset) -> Tensor");
  m.def(
      "token_mask(Tensor ids, Tensor? special, Tensor seed, int mask_token_id, int vocab_size, float mlm_probability, "
      "float mask_replace_prob, float random_replace_prob, int row_offset) -> (Tensor, Tensor, Tensor)");
}
