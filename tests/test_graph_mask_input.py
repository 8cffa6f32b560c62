"""mask_nodes and drop_edges: equal arguments of the faces, and what they refuse, in one line."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from sslfast import host
from sslfast.masking import drop_edges, mask_nodes


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads")]

    assert arguments(host.mask_nodes) == arguments(mask_nodes)
    assert arguments(host.drop_edges) == arguments(drop_edges)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
        ({"x": torch.ones(3)}, ValueError, "x must have shape (N, D) with N below 2^31, got (3,)"),
        ({"mask_rate": 1.5}, ValueError, "mask_rate must be a probability in [0, 1], got 1.5"),
        ({"mask_rate": 1.0}, ValueError, 'mask_rate must be below 1 in mode "exact", got 1.0'),
        ({"replace_rate": None}, TypeError, "replace_rate must be a number, got NoneType"),
        (
            {"replace_rate": 0.6, "keep_rate": 0.5},
            ValueError,
            "replace_rate + keep_rate must be at most 1, got 0.6 + 0.5",
        ),
        ({"mask_token": 0.0}, TypeError, "mask_token must be a tensor of torch.float32, like x, got float"),
        ({"mask_token": torch.ones(4)}, ValueError, "mask_token must have shape (3,) or (1, 3), got (4,)"),
        ({"mode": "graphmae"}, ValueError, "mode must be 'exact' or 'compat', got 'graphmae'"),
        ({"ptr": torch.tensor([0.0, 5.0])}, TypeError, "ptr must be an int64 tensor, got torch.float32"),
        ({"ptr": [0, 5]}, TypeError, "ptr must be an int64 tensor, got list"),
        ({"ptr": torch.tensor([5])}, ValueError, "ptr must have shape (G + 1,) for G graphs, got (1,)"),
        ({"ptr": torch.tensor([[0, 5]])}, ValueError, "ptr must have shape (G + 1,) for G graphs, got (1, 2)"),
        ({"ptr": torch.tensor([0, 4])}, ValueError, "ptr must rise from 0 to 5, the number of nodes, got [0, 4]"),
        ({"ptr": torch.tensor([1, 5])}, ValueError, "ptr must rise from 0 to 5, the number of nodes, got [1, 5]"),
        (
            {"ptr": torch.tensor([0, 1, 2, 1, 3, 3, 4, 4, 4, 5])},
            ValueError,
            "ptr must rise from 0 to 5, the number of nodes, got [0, 1, 2, 1, 3, 3, 4], ..., 5",
        ),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
        (
            {"sample_ids": torch.arange(2)},
            ValueError,
            "sample_ids must have shape (1,), one a row, got (2,)",
        ),
    ],
)
def test_mask_nodes_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_nodes(**{"x": torch.zeros(5, 3), **arguments})
    assert str(raised.value) == f"mask_nodes: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.mask_nodes(**{"x": np.zeros((5, 3), np.float32), "seed": 1, **on_arrays})
    expected = message.replace("a tensor", "an array").replace("int64 tensor", "int64 array").replace("torch.", "")
    assert str(raised.value) == f"mask_nodes: {expected}"


def test_wide_elements_are_an_error():
    with pytest.raises(TypeError, match=r"mask_nodes: x must have elements of at most 8 bytes, got torch.complex128"):
        mask_nodes(torch.zeros(2, 2, dtype=torch.complex128))
    with pytest.raises(TypeError, match="mask_nodes: x must have elements of 1, 2, 4 or 8 bytes, got object"):
        host.mask_nodes(np.zeros((2, 2), object), seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"edge_index": [1]}, TypeError, "edge_index must be a tensor, got list"),
        (
            {"edge_index": torch.ones(3, 2)},
            ValueError,
            "edge_index must have shape (2, E) with E below 2^31, got (3, 2)",
        ),
        ({"ptr": torch.tensor([0, 6])}, ValueError, "ptr must rise from 0 to 5, the number of edges, got [0, 6]"),
        ({"p": -0.1}, ValueError, "p must be a probability in [0, 1], got -0.1"),
    ],
)
def test_drop_edges_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        drop_edges(**{"edge_index": torch.zeros(2, 5), **arguments})
    assert str(raised.value) == f"drop_edges: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.drop_edges(**{"edge_index": np.zeros((2, 5)), "seed": 1, **on_arrays})
    expected = message.replace("a tensor", "an array")
    assert str(raised.value) == f"drop_edges: {expected}"
