// Every schema of the namespace. Implementations register beside their operator; Triton ones from sslfast/ops.
// Factors of rows and columns go with bfloat16 on the CPU.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(sslfast, m) {
  m.def("philox_words(Tensor like, Tensor seed, int stream, int rows, int elements, int row_offset) -> Tensor");
  m.def("unit_rows(Tensor z, ScalarType dtype) -> (Tensor, Tensor)");
  m.def("unit_rows_backward_(Tensor(a!) grad, Tensor unit, Tensor inverse_norm) -> ()");
  m.def(
      "similarity_softmax_forward(Tensor rows, Tensor positives, float scale, float max_norm, int keep, "
      "Tensor? factors=None) -> (Tensor, Tensor, Tensor)");
  m.def(
      "similarity_softmax_backward(Tensor rows, Tensor positives, Tensor lse, Tensor grad_lse, Tensor grad_positive, "
      "Tensor kept, float scale, float max_norm, Tensor? factors=None) -> Tensor");
  m.def("nt_xent_forward(Tensor z0, Tensor z1, float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "nt_xent_backward(Tensor z0, Tensor z1, Tensor unit, Tensor inverse_norm, Tensor lse, Tensor share, Tensor peak, "
      "Tensor grad, float scale, bool need_z0, bool need_z1) -> (Tensor, Tensor)");
  m.def(
      "cross_softmax_forward(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor? row_ids, "
      "Tensor? col_ids, Tensor? row_limits, float max_similarity, bool two_way, int keep, "
      "Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "cross_softmax_backward(Tensor rows, Tensor columns, Tensor positives, Tensor row_lse, Tensor col_lse, "
      "Tensor grad_row, Tensor grad_col, Tensor grad_positive, Tensor scale, Tensor? row_ids, "
      "Tensor? col_ids, Tensor? row_limits, Tensor kept, bool need_rows, bool need_columns, "
      "Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor)");
  m.def(
      "sigmoid_pairs(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor bias, float share, "
      "bool need_rows, bool need_columns, Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor, "
      "Tensor, Tensor, Tensor)");
  m.def(
      "queue_softmax(Tensor rows, Tensor queue, Tensor scale, Tensor? positives, Tensor? row_ids, Tensor? col_ids, "
      "Tensor? row_limits, bool need_mean, Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor)");
  m.def("mask_indices(Tensor mask) -> (Tensor, Tensor)");
  m.def(
      "token_mask(Tensor ids, Tensor? special, Tensor seed, Tensor? sample_ids, int mask_token_id, int vocab_size, "
      "float mlm_probability, "
      "float mask_replace_prob, float random_replace_prob, int row_offset) -> (Tensor, Tensor, Tensor)");
  m.def(
      "patch_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int patches, int keep, int row_offset) -> "
      "(Tensor, Tensor, "
      "Tensor)");
  m.def(
      "cell_mask(Tensor like, Tensor seed, Tensor? sample_ids, int stream, int rows, int frames, int height, int "
      "width, "
      "int cell_frames, int cell_height, int cell_width, int masked, int row_offset) -> Tensor");
  m.def(
      "block_mask(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? targets, int target_low, "
      "int target_high, float mask_probability, int rows, int height, int width, float min_patches, float max_patches, "
      "float log_aspect_low, float log_aspect_high, bool exact, "
      "bool shift, int row_offset) -> Tensor");
  m.def(
      "inverse_block_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, int visible, "
      "float log_aspect_low, float log_aspect_high, bool exact, bool shift, int row_offset) -> Tensor");
  m.def(
      "square_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, int squares, int "
      "side, "
      "int marked, bool inverse, int row_offset) -> Tensor");
  m.def(
      "dino_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, float min_patches, "
      "float max_patches, float log_aspect_low, float log_aspect_high, bool exact, bool shift, int masked_rows, "
      "float ratio_low, float ratio_high, int capacity, int row_offset, int batch_number) -> (Tensor, Tensor, Tensor, "
      "Tensor)");
  m.def(
      "ijepa_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, float enc_scale_low, "
      "float enc_scale_high, float pred_scale_low, float pred_scale_high, float aspect_low, float aspect_high, "
      "int encoders, int predictors, int min_keep, bool allow_overlap, bool exact, bool truncate, int enc_capacity, "
      "int pred_capacity, int row_offset, int batch_number) -> (Tensor, Tensor, Tensor)");
  m.def(
      "vjepa_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int frames, int height, int width, "
      "float temporal_low, float temporal_high, float scale_low, float scale_high, float aspect_low, "
      "float aspect_high, int blocks, int context_frames, int max_keep, bool exact, bool truncate, int row_offset, "
      "int batch_number) -> (Tensor, Tensor)");
  m.def("patch_gather(Tensor x, Tensor ids_keep) -> Tensor");
  m.def("patch_scatter(Tensor grad, Tensor ids_restore) -> Tensor");
  m.def(
      "image_augment_params(Tensor like, Tensor seed, int rows, int views, int height, int width, float[] scale, "
      "float[] ratio, float hflip_prob, float jitter_prob, float[] jitter, float gray_prob, int row_offset) -> Tensor");
  m.def(
      "image_augment(Tensor images, Tensor params, int out_height, int out_width, float[] mean, float[] std, "
      "ScalarType dtype) -> Tensor");
}
