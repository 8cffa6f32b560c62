"""What the Gumbel quantiser says to bad input."""

from __future__ import annotations

import pytest
import torch

from sslfast.losses import GumbelVectorQuantizer, gumbel_quantize

L, BOOK = torch.randn(2, 3, 2, 5), torch.randn(2, 5, 4)
BAD = [
    ((L[0], BOOK), {}, ValueError, "logits must have shape (B, T, G, V) with G, V >= 1, got (3, 2, 5)"),
    ((L.long(), BOOK), {}, TypeError, "logits must be a floating-point tensor, got torch.int64"),
    ((L, BOOK[:, :4]), {}, ValueError, "codebook must have shape (2, 5, d) or (1, 5, d), got (2, 4, 4)"),
    ((L, BOOK, torch.ones(2, 3)), {}, TypeError, "mask_time_indices must be a bool tensor, got torch.float32"),
    (
        (L, BOOK, torch.ones(3, 2, dtype=torch.bool)),
        {},
        ValueError,
        "mask_time_indices must have shape (2, 3), like logits, got (3, 2)",
    ),
    ((L, BOOK), {"temperature": 0}, ValueError, "temperature must be positive, got 0"),
    ((L, BOOK), {"temperature": 1e-40}, ValueError, "temperature must be at least 1e-8, got 1e-40"),
    ((L, BOOK), {"training": 1}, TypeError, "training must be a bool, got 1"),
    ((L, BOOK), {"perplexity_eps": -1.0}, ValueError, "perplexity_eps must be at least 0, got -1.0"),
    ((L, BOOK), {"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
]


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_input(args, options, error, text) -> None:
    with pytest.raises(error) as caught:
        gumbel_quantize(*args, **options)
    assert str(caught.value) == f"gumbel_quantize: {text}"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"groups": 3, "vq_dim": 256}, ValueError, "vq_dim must be a multiple of groups, got 256 and 3"),
        ({"num_vars": 0}, ValueError, "num_vars must be in [1, 4294967296], got 0"),
        ({"temperature": (2, 1)}, ValueError, "temperature must be a number or (start, stop, decay), got (2, 1)"),
        ({"combine_groups": None}, TypeError, "combine_groups must be a bool, got None"),
    ],
)
def test_bad_module(options, error, text) -> None:
    with pytest.raises(error) as caught:
        GumbelVectorQuantizer(8, **options)
    assert str(caught.value) == f"GumbelVectorQuantizer: {text}"


def test_the_module_takes_strided_rows() -> None:
    with pytest.raises(TypeError) as caught:
        GumbelVectorQuantizer(8)(torch.ones(2, 3, 8).to_sparse())
    expected = "hidden_states must be a plain strided tensor, got one of torch.sparse_coo"
    assert str(caught.value) == f"GumbelVectorQuantizer: {expected}"
