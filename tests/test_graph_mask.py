"""mask_nodes and drop_edges: the reference bit for bit, counts, distributions, gradients, NaN, both faces."""

from __future__ import annotations

import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracle import all_equal
from scipy import stats

from sslfast import host
from sslfast.masking import NodeMask, drop_edges, mask_nodes
from sslfast.reference import graph_mask as reference

ALPHA = 1e-4

# (nodes, features, arguments) and why it is there
SIZES = [
    (0, 3, {}),  # no nodes
    (1, 1, {"mask_rate": 1.0}),
    (20, 4, {}),  # fewer masked than one in replace_rate: none is replaced
    (101, 3, {"mask_rate": 0.7, "replace_rate": 0.2, "keep_rate": 0.3}),
    (50, 2, {"mask_rate": 0.0}),
    (50, 2, {"mask_rate": 1.0, "replace_rate": 1.0}),
    (50, 2, {"mask_rate": 1.0, "replace_rate": 0.0, "keep_rate": 1.0}),
    (3000, 1, {"mask_rate": 0.5}),  # several blocks of draws
]


@pytest.mark.parametrize(("nodes", "features", "arguments"), SIZES)
@pytest.mark.parametrize("seed", [7, -1])
def test_mask_nodes_equals_reference(device, nodes, features, arguments, seed):
    x = torch.randn(nodes, features)
    for token in (None, torch.randn(features), torch.randn(1, features)):
        expected = reference.mask_nodes(x, mask_token=token, seed=seed, **arguments) if nodes else None
        there = None if token is None else token.to(device)
        ours = mask_nodes(x.to(device), mask_token=there, generator=seed, **arguments)
        assert isinstance(ours, NodeMask)
        there = None if token is None else token.numpy()
        arrays = host.mask_nodes(x.numpy(), mask_token=there, seed=seed, threads=2, **arguments)
        assert all_equal([torch.from_numpy(a) for a in arrays], ours)
        if expected is not None:
            assert all_equal(ours, expected)


@pytest.mark.parametrize(("edges", "p"), [(0, 0.5), (1, 1.0), (7, 0.0), (1001, 0.3)])
def test_drop_edges_equals_reference(device, edges, p):
    edge_index = torch.zeros(2, edges, dtype=torch.int64)
    expected = reference.drop_edges(edge_index, p, seed=5)
    assert all_equal([drop_edges(edge_index.to(device), p, generator=5)], [expected])
    assert all_equal([torch.from_numpy(host.drop_edges(edge_index.numpy(), p, seed=5, threads=2))], [expected])


def test_counts_are_those_of_exact_arithmetic():
    for nodes in (1, 10, 77, 100):
        for percent in range(0, 101, 10):
            out, masked, kept = mask_nodes(torch.ones(nodes, 1), percent / 100, replace_rate=0.0)
            assert len(masked) == int(nodes * Fraction(percent, 100))
            assert len(masked) + len(kept) == nodes
            assert torch.equal(torch.cat([masked, kept]).sort().values, torch.arange(nodes))
            assert torch.equal((out == 0).flatten().nonzero().flatten(), masked.sort().values)


def test_sets_tokens_and_donors_are_uniform():
    x = torch.arange(1.0, 7.0)[:, None]
    sets, tokens, donors = [], [], []
    for generator in range(6000):
        out, masked, _ = mask_nodes(x, 0.5, replace_rate=0.34, generator=generator)  # 2 tokens, 1 replaced
        sets.append(int((1 << masked).sum()))
        tokens += (out == 0).flatten().nonzero().flatten().tolist()
        donors.append(int(out[masked[2]]) - 1)
    for observed, kinds in ((sets, 20), (tokens, 6), (donors, 6)):
        counts = np.unique(observed, return_counts=True)[1]
        assert len(counts) == kinds
        assert stats.chisquare(counts).pvalue > ALPHA
    dropped = drop_edges(torch.zeros(2, 50_000), 0.3, generator=1)
    assert stats.binomtest(int(dropped.sum()), 50_000, 0.3).pvalue > ALPHA
    assert stats.binomtest(int((dropped[1:] & dropped[:-1]).sum()), 49_999, 0.09).pvalue > ALPHA


def test_nan_in_masked_nodes_is_gone(device):
    x = torch.ones(40, 3, device=device)
    masked = mask_nodes(x, replace_rate=0.0, generator=1).masked_nodes
    x[masked] = torch.nan
    x.requires_grad_()
    out = mask_nodes(x, replace_rate=0.0, generator=1).x
    assert out.isfinite().all()
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(
        grad[:, 0].nonzero().flatten(), mask_nodes(x, replace_rate=0.0, generator=1).kept_nodes.sort()[0]
    )


def test_gradients_and_graphs(device):
    x = torch.randn(12, 3, device=device, dtype=torch.float64, requires_grad=True)
    token = torch.randn(1, 3, device=device, dtype=torch.float64, requires_grad=True)

    def call(x, token):
        return mask_nodes(x, 0.6, replace_rate=0.4, keep_rate=0.2, mask_token=token, generator=1)

    assert torch.autograd.gradcheck(lambda *args: call(*args).x, (x, token))
    assert all_equal(torch.compile(call, fullgraph=True, backend="aot_eager")(x, token), call(x, token))
    edges = torch.zeros(2, 30, dtype=torch.int64, device=device)
    compiled = torch.compile(lambda e: drop_edges(e, 0.3, generator=1), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(edges), drop_edges(edges, 0.3, generator=1))


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
        ({"replace_rate": None}, TypeError, "replace_rate must be a number, got NoneType"),
        (
            {"replace_rate": 0.6, "keep_rate": 0.5},
            ValueError,
            "replace_rate + keep_rate must be at most 1, got 0.6 + 0.5",
        ),
        ({"mask_token": 0.0}, TypeError, "mask_token must be a tensor of torch.float32, like x, got float"),
        ({"mask_token": torch.ones(4)}, ValueError, "mask_token must have shape (3,) or (1, 3), got (4,)"),
    ],
)
def test_mask_nodes_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        mask_nodes(**{"x": torch.zeros(5, 3), **arguments})
    assert str(raised.value) == f"mask_nodes: {message}"
    on_arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.mask_nodes(**{"x": np.zeros((5, 3), np.float32), "seed": 1, **on_arrays})
    expected = message.replace("a tensor", "an array").replace("torch.", "")
    assert str(raised.value) == f"mask_nodes: {expected}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"edge_index": [1]}, TypeError, "edge_index must be a tensor, got list"),
        ({"edge_index": torch.ones(3, 2)}, ValueError, "edge_index must have shape (2, E), got (3, 2)"),
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


@pytest.mark.gpu
def test_gpu_gives_the_same_bits_without_waiting():
    x, token = torch.randn(300, 8), torch.zeros(8)
    edges = torch.randint(300, (2, 1000))
    seed = torch.tensor([5], device="cuda")
    on_gpu = [t.cuda() for t in (x, token, edges)]

    def call(x, token, edges, seed):
        return (
            *mask_nodes(x, 0.5, replace_rate=0.3, mask_token=token, generator=seed),
            drop_edges(edges, generator=seed),
        )

    call(*on_gpu, seed)  # what is built at first use is built
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours = call(*on_gpu, seed)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all_equal(ours, call(x, token, edges, 5))
