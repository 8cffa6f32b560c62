"""Normalised rows against normalised references, the part that the losses with labels share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.losses._cross import cross_softmax
from sslfast.losses._queue import queue_softmax


def reference_lse(
    function: str,
    rows: Tensor,
    references: Tensor,
    scale: float,
    left_out: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    dtype: torch.dtype,
    sides: tuple[Tensor | None, ...],
    memory_budget: int | None = None,
) -> Tensor:
    """Log-sum-exps of rows over references, read once where these take no gradient: a memory.

    Args:
        function: the name that errors begin with.
        rows: (N, D), unit vectors in the dtype of accumulation.
        references: (M, D), unit vectors, of the same dtype; no tensor that is among the other arguments.
        scale: factor of the similarities.
        left_out: (N,) int64, a reference that does not count for the row, or -1.
        row_ids: (N,) int64; references of the same id do not count. None where all do.
        col_ids: (M,) int64, given if ``row_ids`` is.
        dtype: what the products are made in where the device has them in half types.
        sides: what ``exact_side`` gives for rows and for references.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :mod:`._kept`.

    Returns:
        (N,), of the dtype of ``rows``; -inf where there is nothing to sum.
    """
    if references.requires_grad and torch.is_grad_enabled():
        lse, _, _ = cross_softmax(
            function,
            rows,
            references,
            scale,
            left_out,
            two_way=False,
            normalize=False,
            max_similarity=1.0,
            row_ids=row_ids,
            col_ids=col_ids,
            dtype=dtype,
            memory_budget=memory_budget,
            sides=sides,
        )
        return lse
    return queue_softmax(
        function,
        rows,
        references,
        rows.new_full((), scale),
        positives=left_out,
        row_ids=row_ids,
        col_ids=col_ids,
        dtype=dtype,
        sides=sides,
    )
