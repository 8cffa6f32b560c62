// Every schema of the namespace. Implementations register beside their operator; Triton ones from sslfast/ops.
// Factors of rows and columns go with bfloat16, on the GPU also with float16.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(sslfast, m) {
  m.def("philox_words(Tensor like, Tensor seed, int stream, int rows, int elements, int row_offset) -> Tensor");

  // ---- losses

  m.def("unit_rows(Tensor z, ScalarType dtype) -> (Tensor, Tensor)");
  m.def("unit_rows_backward_(Tensor(a!) grad, Tensor unit, Tensor inverse_norm) -> ()");
  m.def("unit_rows_gradient(Tensor grad, Tensor z, Tensor inverse_norm) -> Tensor");
  m.def(
      "similarity_softmax_forward(Tensor rows, Tensor positives, float scale, float max_norm, int keep, Tensor? "
      "factors=None, bool packed=False) -> (Tensor, Tensor, Tensor)");
  m.def(
      "similarity_softmax_backward(Tensor rows, Tensor positives, Tensor lse, Tensor grad_lse, Tensor "
      "grad_positive, Tensor kept, float scale, float max_norm, Tensor? factors=None, Tensor? labels=None, Tensor? "
      "label_weights=None, bool need_first=True, bool need_second=True) -> Tensor");
  m.def("nt_xent_forward(Tensor z0, Tensor z1, float scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "nt_xent_backward(Tensor z0, Tensor z1, Tensor unit, Tensor inverse_norm, Tensor lse, Tensor share, Tensor "
      "peak, Tensor grad, float scale, bool need_z0, bool need_z1) -> (Tensor, Tensor)");
  m.def(
      "cross_softmax_forward(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor? row_ids, Tensor? "
      "col_ids, Tensor? row_limits, float max_similarity, bool two_way, int keep, Tensor? row_factors=None, Tensor? "
      "col_factors=None, bool packed=False) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "cross_softmax_backward(Tensor rows, Tensor columns, Tensor positives, Tensor row_lse, Tensor col_lse, Tensor "
      "grad_row, Tensor grad_col, Tensor grad_positive, Tensor scale, Tensor? row_ids, Tensor? col_ids, Tensor? "
      "row_limits, Tensor kept, bool need_rows, bool need_columns, Tensor? row_factors=None, Tensor? "
      "col_factors=None, Tensor? row_labels=None, Tensor? col_labels=None, Tensor? label_weights=None) -> (Tensor, "
      "Tensor)");
  m.def(
      "limited_softmax_forward(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor? row_ids, Tensor? "
      "col_ids, Tensor row_limits, Tensor? col_limits, int keep, Tensor? row_factors=None, Tensor? col_factors=None) "
      "-> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "limited_softmax_backward(Tensor rows, Tensor columns, Tensor positives, Tensor row_lse, Tensor col_lse, Tensor "
      "grad_row_lse, Tensor grad_col_lse, Tensor grad_positive, Tensor grad_row_total, Tensor grad_col_total, Tensor "
      "scale, Tensor? row_ids, Tensor? col_ids, Tensor row_limits, Tensor? col_limits, Tensor kept, bool need_rows, "
      "bool need_columns, Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor)");
  m.def(
      "sigmoid_pairs(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor bias, float share, bool "
      "need_rows, bool need_columns, Tensor? row_factors=None, Tensor? col_factors=None, Tensor? row_ids=None, "
      "Tensor? col_ids=None, Tensor? row_limits=None, float smoothing=0) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "few_pairs(Tensor rows, Tensor columns, Tensor? scale, Tensor? bias, float known_scale, float known_bias, int "
      "kind, float share, bool normalize, bool need_rows, bool need_columns, bool need_scale, bool need_bias, float "
      "smoothing=0., float? margin=None, float tau_plus=0., Tensor? factors=None, Tensor? positives=None, Tensor? "
      "row_ids=None, Tensor? col_ids=None, bool each=False) -> Tensor[]");
  m.def(
      "few_pairs_backward(Tensor rows, Tensor columns, Tensor? scale, float known_scale, int kind, float share, bool "
      "normalize, bool need_rows, bool need_columns, bool need_scale, float? margin, float tau_plus, Tensor? factors, "
      "Tensor? positives, Tensor? row_ids, Tensor? col_ids) -> (Tensor, Tensor, Tensor)");
  m.def(
      "few_views(Tensor z0, Tensor z1, Tensor? weights, float scale, float? sigma, bool decoupled, bool need_z0, bool "
      "need_z1, bool need_weights) -> Tensor[]");
  m.def(
      "joint_softmax(Tensor similar, Tensor query, Tensor keys, Tensor? scale, float known_scale, float share, bool "
      "key_to_query, bool symmetric, bool key_negatives, bool query_negatives, bool in_batch, int hard_begin, int "
      "hard_end, float strength, bool normalized, bool each, bool weigh, float smoothing=0., float? margin=None, float "
      "tau_plus=0., Tensor? factors=None, Tensor? positives=None, Tensor? query_ids=None, Tensor? key_ids=None) -> "
      "(Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "queue_pairs(Tensor query, Tensor keys, Tensor queue, Tensor? scale, float known_scale, float share, bool "
      "normalize, bool need_query, bool need_keys, bool need_scale) -> Tensor[]");
  m.def(
      "queue_softmax(Tensor rows, Tensor queue, Tensor scale, Tensor? positives, Tensor? row_ids, Tensor? col_ids, "
      "Tensor? row_limits, bool need_mean, Tensor? row_factors=None, Tensor? col_factors=None) -> (Tensor, Tensor)");
  m.def(
      "one_way_softmax(Tensor rows, Tensor columns, Tensor positives, Tensor scale, Tensor? row_ids, Tensor? col_ids, "
      "Tensor? row_limits, Tensor? known_lse, Tensor? known_positive, Tensor? weights, bool need_rows, bool "
      "need_columns, Tensor? row_factors=None, Tensor? col_factors=None, Tensor? row_labels=None, Tensor? "
      "col_labels=None, Tensor? label_weights=None) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor targets, Tensor? index, Tensor? bias, Tensor? "
      "weights, Tensor? others, Tensor? class_weights, float label_smoothing, float softcap, float z_loss, bool "
      "need_hidden, bool need_weight, bool need_bias, Tensor? elsewhere=None, int num_classes=0) -> (Tensor, Tensor, "
      "Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "sampled_softmax(Tensor rows, Tensor table, Tensor index, Tensor positives, Tensor candidates, Tensor? offsets, "
      "Tensor? corrections, Tensor? codes, Tensor? weights, float scale, float shift, bool cosine, int twins, bool "
      "candidates_of_rows, bool need_rows, bool need_table, bool need_offsets) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "replaced_token(Tensor logits, Tensor replaced, Tensor? attention_mask, Tensor? items, float divisor, bool "
      "each_token, bool need_grad) -> (Tensor, Tensor, Tensor)");
  m.def("replaced_token_backward(Tensor weights, Tensor logits, Tensor replaced, Tensor? attention_mask) -> Tensor");
  m.def(
      "soft_cross_entropy(Tensor[] students, Tensor[] teachers, Tensor? centers, Tensor? weights, float "
      "student_scale, float teacher_scale, float grad_factor, bool skip_same_view, bool need_grad, bool need_sum) -> "
      "(Tensor, Tensor, Tensor)");
  m.def("msn_rows(Tensor logits, Tensor targets, float scale, bool need_shares) -> (Tensor, Tensor, Tensor)");
  m.def(
      "msn_gradient_(Tensor(a!) logits, Tensor targets, Tensor stats, Tensor? levels, float scale, float factor) -> "
      "()");
  m.def(
      "label_means(Tensor rows, Tensor columns, Tensor labels, Tensor ref_labels, Tensor? copies, bool itself, float "
      "scale) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "label_softmax(Tensor z, Tensor labels, float scale, bool each_positive, bool need_grad, Tensor? ref_emb=None, "
      "Tensor? ref_labels=None, Tensor? copies=None, bool need_ref_grad=False) -> (Tensor, Tensor)");
  m.def(
      "label_distances(Tensor z, Tensor labels, int terms, int distance, int reduction, bool normalize, float margin, "
      "float neg_margin, bool squared, bool swap, bool smooth, bool need_grad, Tensor? ref_emb=None, Tensor? "
      "ref_labels=None, Tensor? copies=None, bool need_ref_grad=False) -> (Tensor, Tensor)");
  m.def("nearest_rows(Tensor rows, Tensor columns) -> (Tensor, Tensor)");
  m.def("own_similarities(Tensor query, Tensor keys, bool normalize) -> (Tensor, Tensor)");
  m.def(
      "own_similarities_backward(Tensor grad, Tensor query, Tensor keys, Tensor? similarities, Tensor? inverse_norms, "
      "bool need_query, bool need_keys) -> (Tensor, Tensor)");
  m.def("koleo(Tensor x, float eps, bool need_grad) -> (Tensor, Tensor, Tensor)");
  m.def(
      "negative_cosine_similarity(Tensor x0, Tensor x1, float eps, bool need_x0, bool need_x1) -> (Tensor, Tensor, "
      "Tensor)");
  m.def("feature_moments(Tensor[] layers, float eps) -> (Tensor, Tensor)");
  m.def(
      "feature_targets(Tensor[] layers, Tensor ids, Tensor? means, Tensor? scales, bool layer_norm, bool target_norm, "
      "float eps) -> Tensor");
  m.def(
      "masked_patch(Tensor pred, Tensor images, Tensor? mask, Tensor? ids, Tensor? weights, int[] patch, int order, "
      "bool flat, int norm, int kind, float beta, float eps, float[] scale, float[] shift, bool need_grad) -> (Tensor, "
      "Tensor)");
  m.def("gumbel_quantize(Tensor logits, Tensor? mask) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "gumbel_quantize_backward(Tensor logits, Tensor? mask, Tensor lse, Tensor? products, Tensor? shares, Tensor "
      "seed, "
      "Tensor numbers, float temperature) -> Tensor");
  m.def("sinkhorn_peaks(Tensor scores, Tensor? weights, float scale) -> (Tensor, Tensor)");
  m.def("sinkhorn_masses(Tensor scores, Tensor potentials, Tensor? weights, float scale) -> Tensor");
  m.def("sinkhorn_potentials(Tensor scores, Tensor? weights, float scale, int iterations) -> Tensor");
  m.def("sinkhorn_assign(Tensor scores, Tensor potentials, float scale, int rows) -> Tensor");

  // ---- masks

  m.def("mask_indices(Tensor mask) -> (Tensor, Tensor)");
  m.def(
      "token_mask(Tensor ids, Tensor? special, Tensor seed, Tensor? sample_ids, int mask_token_id, int vocab_size, "
      "float mlm_probability, float mask_replace_prob, float random_replace_prob, int row_offset, Tensor? "
      "random_token_ids=None, int min_masked=0, bool check_ids=False) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "whole_word_mask(Tensor ids, Tensor words, Tensor? special, Tensor seed, Tensor? sample_ids, int "
      "mask_token_id, int vocab_size, float mlm_probability, float mask_replace_prob, float random_replace_prob, "
      "bool replace_words, int row_offset, Tensor? random_token_ids, int min_masked, Tensor? budgets, bool "
      "check_ids=False) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "span_corruption(Tensor ids, Tensor? lengths, Tensor seed, Tensor? sample_ids, float noise_density, float "
      "mean_span, bool anywhere, int sentinel, int sentinel_step, int? eos, int pad, int ignore_index, int "
      "input_length, int target_length, int row_offset) -> (Tensor, Tensor, Tensor)");
  m.def(
      "text_span_mask(Tensor ids, Tensor? special, Tensor? word_ids, Tensor seed, Tensor? sample_ids, int "
      "mask_token_id, int vocab_size, float mask_ratio, int min_span, int[] thresholds, bool per_span, float "
      "mask_replace_prob, float random_replace_prob, int row_offset, Tensor? random_token_ids=None, bool "
      "check_ids=False) -> (Tensor, Tensor, Tensor)");
  m.def(
      "permutation_mask(Tensor ids, Tensor? special, Tensor seed, Tensor? sample_ids, int mask_token_id, int[] "
      "contexts, bool as_bool, bool compat, int row_offset) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "item_mask(Tensor items, Tensor seed, Tensor? sample_ids, int mask_id, int padding_id, float mask_ratio, bool "
      "exact, float last_item_probability, bool at_least_one, int most_labels, bool label_first, int row_offset) -> "
      "(Tensor, Tensor, Tensor)");
  m.def("item_negatives(Tensor numbers, Tensor seed, Tensor? thresholds, int items, int negatives) -> Tensor");
  m.def(
      "gumbel_sample(Tensor logits, Tensor? positions, Tensor seed, Tensor? sample_ids, float temperature, int "
      "row_offset) -> Tensor");
  m.def(
      "patch_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int patches, int keep, int row_offset, "
      "int prefix=0, bool ascending=False, Tensor? noise=None) -> (Tensor, Tensor, Tensor)");
  m.def("patch_gather(Tensor x, Tensor ids) -> Tensor");
  m.def("patch_scatter(Tensor grad, Tensor ids_restore) -> Tensor");
  m.def("patch_sum(Tensor grad, Tensor ids, int x_rows, int patches) -> Tensor");
  m.def(
      "patch_unshuffle(Tensor tokens, Tensor mask_token, Tensor? positions, Tensor ids_restore, int prefix, "
      "ScalarType dtype) -> Tensor");
  m.def(
      "patch_unshuffle_backward(Tensor grad, Tensor ids_restore, int keep, int prefix, ScalarType dtype, bool "
      "need_tokens, bool need_mask_token, bool need_positions) -> (Tensor, Tensor, Tensor)");
  m.def("mask_token_apply(Tensor x, Tensor mask, Tensor mask_token) -> Tensor");
  m.def("mask_token_apply_backward(Tensor grad, Tensor mask, bool need_x, bool need_mask_token) -> (Tensor, Tensor)");
  m.def(
      "cell_mask(Tensor like, Tensor seed, Tensor? sample_ids, int stream, int rows, int frames, int height, int "
      "width, int cell_frames, int cell_height, int cell_width, int masked, int row_offset) -> Tensor");
  m.def(
      "block_mask(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? targets, float target_low, float target_high, "
      "float mask_probability, int rows, int height, int width, float min_patches, float max_patches, float "
      "log_aspect_low, float log_aspect_high, bool exact, bool shift, int row_offset, int tries=10) -> Tensor");
  m.def(
      "inverse_block_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, int "
      "visible, float log_aspect_low, float log_aspect_high, bool exact, bool shift, int row_offset) -> Tensor");
  m.def(
      "dino_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, float min_patches, "
      "float max_patches, float log_aspect_low, float log_aspect_high, bool exact, bool shift, int masked_rows, "
      "float ratio_low, float ratio_high, int capacity, int row_offset, int batch_number, int tries=10) -> (Tensor, "
      "Tensor, Tensor, Tensor)");
  m.def(
      "ijepa_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, float "
      "enc_scale_low, float enc_scale_high, float pred_scale_low, float pred_scale_high, float aspect_low, float "
      "aspect_high, int encoders, int predictors, int min_keep, bool allow_overlap, bool exact, bool truncate, int "
      "enc_capacity, int pred_capacity, int row_offset, int batch_number) -> (Tensor, Tensor, Tensor)");
  m.def(
      "vjepa_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int frames, int height, int width, float "
      "temporal_low, float temporal_high, float scale_low, float scale_high, float aspect_low, float aspect_high, "
      "int blocks, int context_frames, int max_keep, bool exact, bool truncate, int row_offset, int batch_number) "
      "-> (Tensor, Tensor)");
  m.def(
      "time_span_mask(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? lengths, int rows, int length, float "
      "mask_prob, int mask_length, int min_masks, int rule, int row_offset) -> Tensor");
  m.def(
      "fairseq_span_mask(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? lengths, int rows, int length, float "
      "mask_prob, int mask_length, int min_masks, int span_length, float mask_other, bool apart, int min_space, bool "
      "every_start, bool one_rounding, int same_count, float mask_dropout, int row_offset) -> (Tensor, Tensor)");
  m.def(
      "negative_indices(Tensor mask, Tensor seed, Tensor? sample_ids, int negatives, ScalarType dtype, int "
      "row_offset) -> Tensor");
  m.def(
      "spec_augment(Tensor spec, Tensor seed, Tensor? sample_ids, Tensor? lengths, Tensor? values, float "
      "mask_value, int bin_masks, int bin_param, int frame_masks, int frame_param, float frame_share, bool shared, "
      "int rule, int row_offset) -> (Tensor, Tensor)");
  m.def(
      "spec_augment_(Tensor(a!) spec, Tensor seed, Tensor? sample_ids, Tensor? lengths, Tensor? values, float "
      "mask_value, int bin_masks, int bin_param, int frame_masks, int frame_param, float frame_share, bool shared, "
      "int rule, int row_offset) -> Tensor");
  m.def("spec_mean(Tensor spec, Tensor? lengths, bool whole_batch) -> Tensor");
  m.def("spec_zero(Tensor grad, Tensor intervals, int bin_masks) -> Tensor");
  m.def(
      "feature_corruption(Tensor x, Tensor bank, Tensor seed, Tensor? sample_ids, bool exact, int count, float "
      "probability, int source, bool changed, int infinity, bool need_sources, int row_offset) -> (Tensor, Tensor, "
      "Tensor)");
  m.def(
      "feature_corruption_backward(Tensor grad, Tensor sources, int bank_rows, bool bank_is_x, bool need_x, bool "
      "need_bank) -> (Tensor, Tensor)");
  m.def(
      "square_mask(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, int squares, int "
      "side, int marked, bool inverse, int row_offset) -> Tensor");
  m.def(
      "node_mask(Tensor x, Tensor? mask_token, Tensor seed, Tensor? sample_ids, Tensor? ptr, float mask_rate, float "
      "replace_rate, float keep_rate, bool compat, int row_offset) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "node_mask_backward(Tensor grad, Tensor seed, Tensor? sample_ids, Tensor? ptr, float mask_rate, float "
      "replace_rate, float keep_rate, bool compat, bool need_x, bool need_mask_token, int row_offset) -> (Tensor, "
      "Tensor)");
  m.def(
      "edge_mask(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? ptr, int edges, float probability, int "
      "row_offset) -> Tensor");

  // ---- augmentation

  m.def(
      "image_augment_params(Tensor like, Tensor seed, Tensor? sample_ids, int row_offset, int rows, int views, "
      "int first_view, Tensor? sizes, int height, int width, int[] codes, float[] rules, float[] erases=[]) -> Tensor");
  m.def(
      "image_augment(Tensor[] images, Tensor params, Tensor? table, int[] codes, float[] settings, int height, "
      "int width, float[] mean, float[] std, ScalarType dtype, bool channels_last, float[] erases=[]) -> Tensor");
  m.def(
      "image_augment_out(Tensor[] images, Tensor params, Tensor? table, int[] codes, float[] settings, float[] mean, "
      "float[] std, Tensor(a!) out, float[] erases=[]) -> ()");
  m.def(
      "image_augment_backward(Tensor grad, Tensor images, Tensor params, int[] codes, float[] settings, float[] std) "
      "-> Tensor");
  m.def(
      "batch_mix_params(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int "
      "width, int mode, int partner, float blend_alpha, float box_alpha, float probability, float box_probability, "
      "int box, float side_low, float side_high, bool area_lambda, int row_offset) -> Tensor");
  m.def("batch_mix(Tensor x, Tensor params) -> Tensor");
  m.def("batch_mix_(Tensor(a!) x, Tensor params) -> ()");
  m.def("mix_targets(Tensor labels, Tensor params, int classes, float label_smoothing) -> Tensor");
  m.def("batch_mix_backward(Tensor grad, Tensor params, Tensor users, Tensor starts) -> Tensor");
  m.def(
      "random_erase_params(Tensor like, Tensor seed, Tensor? sample_ids, int rows, int height, int width, float "
      "probability, float[] scale, float[] ratio, int row_offset) -> Tensor");
  m.def(
      "random_erase(Tensor x, Tensor seed, Tensor? sample_ids, float[] values, bool noise, float probability, "
      "float[] scale, float[] ratio, int row_offset) -> (Tensor, Tensor)");
  m.def(
      "random_erase_(Tensor(a!) x, Tensor seed, Tensor? sample_ids, float[] values, bool noise, float probability, "
      "float[] scale, float[] ratio, int row_offset) -> Tensor");
  m.def("erase_boxes(Tensor x, Tensor params, float[] values, bool noise) -> Tensor");
  m.def("erase_boxes_(Tensor(a!) x, Tensor params, float[] values, bool noise) -> ()");
  m.def(
      "token_augment(Tensor ids, Tensor? present, Tensor? lengths, Tensor? special, Tensor? table_offsets, Tensor? "
      "table_ids, Tensor seed, Tensor? sample_ids, int[] special_ids, int[] numbers, float[] rates, int choice, int "
      "views, int out_length, int pad_id, int mask_id, bool left, bool positions, int row_offset) -> (Tensor, Tensor, "
      "Tensor)");
  m.def(
      "feature_noise(Tensor x, Tensor? factors, Tensor seed, Tensor? sample_ids, float scale, float probability, "
      "bool gaussian, int row_offset) -> Tensor");
  m.def(
      "audio_augment_params(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? lengths, int rows, int length, "
      "float[] ranges, float[] chances, bool shift_in_samples, bool mix_by_ratio, int bank_rows, int bank_length, "
      "int row_offset) -> Tensor");
  m.def("audio_augment(Tensor x, Tensor params, Tensor? lengths, Tensor? bank, bool rollover, bool powers) -> Tensor");
  m.def("audio_noise(Tensor params, int channels, int length) -> Tensor");
  m.def(
      "frame_indices(Tensor like, Tensor seed, Tensor? sample_ids, Tensor? lengths, int rows, int frames, int clips, "
      "int clip_length, int stride, bool segments, bool random, bool loop, int row_offset) -> Tensor");
}
