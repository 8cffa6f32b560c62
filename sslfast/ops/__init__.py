"""The compiled libraries, and one handle and one fake kernel per operator.

The torch dispatcher is the only backend switch: the CPU key is C++ from ``_ops.so``, the CUDA key is CUDA C++ from
``_ops_cuda.so`` or a Triton launcher, imported when it first runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops._augment import image_augment, image_augment_backward, image_augment_out, image_augment_params
from sslfast.ops._batches import (
    batch_mix,
    batch_mix_,
    batch_mix_backward,
    batch_mix_params,
    erase_boxes,
    erase_boxes_,
    mix_targets,
    random_erase,
    random_erase_,
    random_erase_params,
)
from sslfast.ops._blocks import (
    block_mask,
    cell_mask,
    dino_mask,
    ijepa_mask,
    inverse_block_mask,
    square_mask,
    vjepa_mask,
)
from sslfast.ops._classes import (
    item_negatives,
    linear_cross_entropy,
    replaced_token,
    replaced_token_backward,
    sampled_softmax,
)
from sslfast.ops._few_pairs import few_pairs, few_pairs_backward, few_views, joint_softmax, queue_pairs
from sslfast.ops._library import triton_library
from sslfast.ops._masking import (
    mask_indices,
    mask_token_apply,
    mask_token_apply_backward,
    patch_gather,
    patch_mask,
    patch_scatter,
    patch_sum,
    patch_unshuffle,
    patch_unshuffle_backward,
    token_mask,
)
from sslfast.ops._patches import feature_moments, feature_targets, masked_patch
from sslfast.ops._prototypes import (
    gumbel_quantize,
    gumbel_quantize_backward,
    msn_gradient_,
    msn_rows,
    sinkhorn_assign,
    sinkhorn_masses,
    sinkhorn_peaks,
    sinkhorn_potentials,
    soft_cross_entropy,
)
from sslfast.ops._rows import (
    koleo,
    label_distances,
    label_means,
    label_softmax,
    nearest_rows,
    negative_cosine_similarity,
    own_similarities,
    own_similarities_backward,
)
from sslfast.ops._sequences import feature_noise, token_augment
from sslfast.ops._similarity import (
    cross_softmax_backward,
    cross_softmax_forward,
    limited_softmax_backward,
    limited_softmax_forward,
    nt_xent_backward,
    nt_xent_forward,
    one_way_softmax,
    queue_softmax,
    sigmoid_pairs,
    similarity_softmax_backward,
    similarity_softmax_forward,
)
from sslfast.ops._spans import gumbel_sample, item_mask, permutation_mask, span_corruption, text_span_mask
from sslfast.ops._tables import (
    edge_mask,
    feature_corruption,
    feature_corruption_backward,
    node_mask,
    node_mask_backward,
)
from sslfast.ops._time import (
    fairseq_span_mask,
    negative_indices,
    spec_augment,
    spec_augment_,
    spec_mean,
    spec_zero,
    time_span_mask,
)
from sslfast.ops._unit_rows import unit_rows, unit_rows_backward_, unit_rows_gradient
from sslfast.ops._waves import audio_augment, audio_augment_params, audio_noise, frame_indices
from sslfast.ops._words import whole_word_mask

__all__ = [
    "audio_augment",
    "audio_augment_params",
    "audio_noise",
    "batch_mix",
    "batch_mix_",
    "batch_mix_backward",
    "batch_mix_params",
    "block_mask",
    "cell_mask",
    "cross_softmax_backward",
    "cross_softmax_forward",
    "dino_mask",
    "edge_mask",
    "erase_boxes",
    "erase_boxes_",
    "fairseq_span_mask",
    "feature_corruption",
    "feature_corruption_backward",
    "feature_moments",
    "feature_noise",
    "feature_targets",
    "few_pairs",
    "few_pairs_backward",
    "few_views",
    "frame_indices",
    "gumbel_quantize",
    "gumbel_quantize_backward",
    "gumbel_sample",
    "ijepa_mask",
    "image_augment",
    "image_augment_backward",
    "image_augment_out",
    "image_augment_params",
    "inverse_block_mask",
    "item_mask",
    "item_negatives",
    "joint_softmax",
    "koleo",
    "label_distances",
    "label_means",
    "label_softmax",
    "limited_softmax_backward",
    "limited_softmax_forward",
    "linear_cross_entropy",
    "mask_indices",
    "mask_token_apply",
    "mask_token_apply_backward",
    "masked_patch",
    "mix_targets",
    "msn_gradient_",
    "msn_rows",
    "nearest_rows",
    "negative_cosine_similarity",
    "negative_indices",
    "node_mask",
    "node_mask_backward",
    "nt_xent_backward",
    "nt_xent_forward",
    "one_way_softmax",
    "own_similarities",
    "own_similarities_backward",
    "patch_gather",
    "patch_mask",
    "patch_scatter",
    "patch_sum",
    "patch_unshuffle",
    "patch_unshuffle_backward",
    "permutation_mask",
    "philox_words",
    "queue_pairs",
    "queue_softmax",
    "random_erase",
    "random_erase_",
    "random_erase_params",
    "replaced_token",
    "replaced_token_backward",
    "sampled_softmax",
    "sigmoid_pairs",
    "similarity_softmax_backward",
    "similarity_softmax_forward",
    "sinkhorn_assign",
    "sinkhorn_masses",
    "sinkhorn_peaks",
    "sinkhorn_potentials",
    "soft_cross_entropy",
    "span_corruption",
    "spec_augment",
    "spec_augment_",
    "spec_mean",
    "spec_zero",
    "square_mask",
    "text_span_mask",
    "time_span_mask",
    "token_augment",
    "token_mask",
    "unit_rows",
    "unit_rows_backward_",
    "unit_rows_gradient",
    "vjepa_mask",
    "whole_word_mask",
]


# ---- philox_words: C++ on the CPU, Triton on the GPU

philox_words = torch.ops.sslfast.philox_words.default


@torch.library.register_fake("sslfast::philox_words")
def _(like: Tensor, seed: Tensor, stream: int, rows: int, elements: int, row_offset: int) -> Tensor:
    return like.new_empty((rows, elements, 4), dtype=torch.int32)


def _philox_words_triton(like: Tensor, seed: Tensor, stream: int, rows: int, elements: int, row_offset: int) -> Tensor:
    from sslfast.kernels.philox import philox_words

    return philox_words(like, seed, stream, rows, elements, row_offset)


triton_library.impl("philox_words", _philox_words_triton)
