"""Losses in half types as a GPU makes them, on the CPU: with the Triton launchers, which are interpreted there."""

from __future__ import annotations

import pytest
import torch

from sslfast import _autograd, ops
from sslfast.losses import _few_pairs, _few_rows, _info_nce_plain, _query_sums

HALF = (torch.bfloat16, torch.float16)


def use_several_strips(patch: pytest.MonkeyPatch, strip: tuple[int, int] = (32, 64)) -> None:
    """Strips of weights of few rows and columns; they otherwise have 1,024 rows and more in half types."""
    from sslfast.kernels import _launch, _sigmoid_launch

    weights, sigmoid_weights = _launch.weights, _sigmoid_launch.sigmoid_weights
    blocks = {"BLOCK_M": 32, "BLOCK_N": 64}
    patch.setattr(_launch, "weights_strip", lambda _: strip)
    patch.setattr(_sigmoid_launch, "sums_strip", lambda: strip)
    patch.setattr(_launch, "one_way_rows", lambda *_: strip[0])
    patch.setattr(_launch, "weights", lambda *shape, **ways: weights(*shape, **ways) | blocks)
    patch.setattr(_sigmoid_launch, "sigmoid_weights", lambda *shape, **ways: sigmoid_weights(*shape, **ways) | blocks)


def use_launchers(patch: pytest.MonkeyPatch) -> None:
    """Makes the operators the launchers, and has every half type multiplied as it is."""
    from sslfast.kernels import (
        cross_softmax,
        cross_softmax_backward,
        nt_xent,
        nt_xent_backward,
        one_way_softmax,
        queue_softmax,
        sigmoid_pairs,
        similarity_softmax,
        similarity_softmax_backward,
    )

    patch.setattr(ops, "similarity_softmax_forward", similarity_softmax.forward)
    patch.setattr(ops, "similarity_softmax_backward", similarity_softmax_backward.backward)
    patch.setattr(ops, "cross_softmax_forward", cross_softmax.forward)
    patch.setattr(ops, "cross_softmax_backward", cross_softmax_backward.backward)
    patch.setattr(ops, "one_way_softmax", one_way_softmax.one_way_softmax)
    patch.setattr(ops, "queue_softmax", queue_softmax.queue_softmax)
    patch.setattr(ops, "sigmoid_pairs", sigmoid_pairs.sigmoid_pairs)
    patch.setattr(ops, "nt_xent_forward", nt_xent.forward)
    patch.setattr(ops, "nt_xent_backward", nt_xent_backward.backward)
    patch.setattr(_autograd, "multiplies_half", lambda dtype, side: dtype in HALF)
    patch.setattr(_few_pairs, "_MOST", 0)  # a GPU has no operators of its own for few pairs and few rows
    patch.setattr(_info_nce_plain, "beside_queue", lambda query: False)
    patch.setattr(_query_sums, "takes_one_pass", lambda query: False)
    patch.setattr(_few_rows, "MOST_ROWS", 0)
    patch.setattr(_few_rows, "MOST_ROWS_SUPCON", 0)
