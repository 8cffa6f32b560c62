"""fairseq's masks of wav2vec 2.0, HuBERT and data2vec under their own name: ``fairseq.data.data_utils
.compute_mask_indices``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast import _check, _time_spans, ops
from sslfast.masking._arguments import errors_of
from sslfast.random import seed_tensor, step_seed

__all__ = ["compute_mask_indices"]


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: Tensor | None,
    mask_prob: float,
    mask_length: int,
    mask_type: str = "static",
    mask_other: float = 0.0,
    min_masks: int = 0,
    no_overlap: bool = False,
    min_space: int = 0,
    require_same_masks: bool = True,
    mask_dropout: float = 0.0,
    add_masks: bool = False,
    seed: int | None = None,
    epoch: int | None = None,
    indices: Tensor | None = None,
    idc_select_ver: int = 1,
    num_mask_ver: int = 2,
) -> Any:
    """``time_mask(mode="fairseq")`` as a NumPy array: the distribution of fairseq, with its defects.

    The last frame of a row is never masked where there is room for a span before it; with ``add_masks`` frames of the
    padding may be masked. What fairseq itself cannot do with NumPy 2, "uniform" lengths and ``no_overlap``, is done as
    it is written there.

    With ``seed``, ``epoch`` and ``indices`` a sample's draws are keyed by these three, by 64 bits of seed and 64 of
    index instead of one of a million seeds; a single draw of the batch (``num_mask_ver=1``) by the first two. Without
    them they come from torch's global generator.

    Args:
        shape: (N, T), rows and frames.
        padding_mask: bool (N, T), True in the padding on the right, or None.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1].
        mask_length: frames per span, or their mean, at least 1.
        mask_type: "static", "uniform", "normal" or "poisson". Default: "static".
        mask_other: least length of "uniform", in [0, 2 * mask_length]; standard deviation of "normal", at least 0.
            Default: 0.
        min_masks: least number of spans of a row. Default: 0.
        no_overlap: spans are placed beside one another, the longest first, until one fits nowhere. Default: False.
        min_space: frames that are not masked between spans, with ``no_overlap`` alone. Default: 0.
        require_same_masks: all rows mask as many frames as the row with the fewest. Default: True.
        mask_dropout: share of the masked frames that is unmasked again at the end. Default: 0.
        add_masks: with ``require_same_masks``, as many as the row with the most. Default: False.
        seed: of the run. Default: None.
        epoch: at least 0. Default: None.
        indices: integer (N,), the number of each sample in the data set. Default: None.
        idc_select_ver: 1, or 2 for starts up to the last frame; not with ``no_overlap``. Default: 1.
        num_mask_ver: 2, or 1 for numbers of spans that are rounded by one draw of the batch where there is no
            ``padding_mask``. Default: 2.

    Returns:
        NumPy bool array (N, T), True where masked.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a shape does not fit, there is no such ``mask_type``, or, as in fairseq, a
            row gets no span or is masked whole.
    """
    name = "compute_mask_indices"
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"{name}: shape must be (N, T), got {_check.shown(shape)}")
    with errors_of(name, batch_size="shape", length="shape"):
        rows, length, mask_prob, mask_length, min_masks, _ = _time_spans.spans(
            name, *shape, mask_prob, mask_length, min_masks, "fairseq"
        )
    law = _time_spans.fairseq_options(
        name,
        mask_length,
        padding_mask is not None,
        mask_type,
        mask_other,
        no_overlap,
        min_space,
        idc_select_ver,
        num_mask_ver,
        require_same_masks,
        add_masks,
        mask_dropout,
    )
    keyed = seed is not None and epoch is not None and indices is not None
    with errors_of(name, generator="seed", step="epoch"):
        key = step_seed(seed, epoch) if keyed else seed_tensor()  # type: ignore[arg-type]
    sample_ids = _sample_ids(name, indices, rows) if keyed else None
    lengths = torch.full((rows,), length)
    if padding_mask is not None:
        if not isinstance(padding_mask, Tensor):
            raise TypeError(f"{name}: padding_mask must be a tensor, got {type(padding_mask).__name__}")
        if padding_mask.shape != (rows, length):
            raise ValueError(f"{name}: padding_mask must have shape {(rows, length)}, got {tuple(padding_mask.shape)}")
        lengths -= padding_mask.long().sum(-1).cpu()
    like = torch.empty((), device="cpu")
    mask, counts = ops.fairseq_span_mask(
        like, key, sample_ids, lengths, rows, length, mask_prob, mask_length, min_masks, *law, 0
    )
    for wrong, what in ((counts == 0, "without a span"), (counts >= lengths, "masked whole")):
        if wrong.any():
            row = int(wrong.int().argmax())
            raise ValueError(f"{name}: mask_prob, mask_length and min_masks must fit every row, got row {row} {what}")
    return mask.numpy()


def _sample_ids(function: str, indices: Any, rows: int) -> Tensor:
    try:
        sample_ids = torch.as_tensor(indices, dtype=torch.int64).cpu()
    except (TypeError, ValueError, RuntimeError):
        got = type(indices).__name__
        raise TypeError(f"{function}: indices must be an integer tensor or a list of ints, got {got}") from None
    if sample_ids.shape != (rows,):
        raise ValueError(f"{function}: indices must have shape ({rows},), one a row, got {tuple(sample_ids.shape)}")
    return sample_ids
