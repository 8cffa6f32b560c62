"""mask_nodes and drop_edges: the reference bit for bit, gradients, NaN, batches, both faces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import NodeMask, drop_edges, mask_nodes
from sslfast.reference import graph_mask as reference

# (nodes, features, arguments) and why it is there
SIZES = [
    (0, 3, {}),  # no nodes
    (1, 1, {"mask_rate": 1.0}),
    (20, 4, {}),  # fewer masked than one in replace_rate: none is replaced
    (101, 3, {"mask_rate": 0.7, "replace_rate": 0.2, "keep_rate": 0.3}),
    (50, 2, {"mask_rate": 0.0}),
    (50, 2, {"mask_rate": 1.0, "replace_rate": 1.0}),  # no donor
    (50, 8, {"mask_rate": 0.96, "replace_rate": 0.9}),  # two donors, which give many times
    (50, 2, {"mask_rate": 1.0, "replace_rate": 0.0, "keep_rate": 1.0}),
    (3000, 1, {"mask_rate": 0.5}),
]

PTR = [0, 5, 5, 6, 70, 71, 300]  # graphs of 5, 0, 1, 64, 1 and 229 nodes


@pytest.mark.parametrize(("nodes", "features", "arguments"), SIZES)
@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("seed", [7, -1])
def test_mask_nodes_equals_reference(device, nodes, features, arguments, mode, seed):
    x = torch.randn(nodes, features)
    if mode == "exact" and arguments.get("mask_rate") == 1.0:  # refused: it keeps nothing
        return
    for token in (None, torch.randn(features), torch.randn(1, features)):
        options = {"mode": mode, "row_offset": 2**40, **arguments}
        expected = reference.mask_nodes(x, mask_token=token, seed=seed, **options)
        there = None if token is None else token.to(device)
        ours = mask_nodes(x.to(device), mask_token=there, generator=seed, **options)
        assert isinstance(ours, NodeMask)
        assert all_equal(ours, expected)
        there = None if token is None else token.numpy()
        arrays = host.mask_nodes(x.numpy(), mask_token=there, seed=seed, threads=2, **options)
        assert all_equal([torch.from_numpy(a) for a in arrays], expected)


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_batches_equal_reference_and_their_graphs(device, mode):
    x, ptr, numbers = torch.randn(300, 3), torch.tensor(PTR), torch.arange(6) * 11
    arguments = {"mask_rate": 0.6, "replace_rate": 0.4, "keep_rate": 0.1, "mode": mode}
    expected = reference.mask_nodes(x, ptr=ptr, seed=5, sample_ids=numbers, **arguments)
    there = {"ptr": ptr.to(device), "sample_ids": numbers.to(device), **arguments}
    ours = mask_nodes(x.to(device), generator=5, **there)
    assert all_equal(ours, expected)
    there = {"ptr": ptr.numpy(), "sample_ids": numbers.numpy(), **arguments}
    assert all_equal([torch.from_numpy(a) for a in host.mask_nodes(x.numpy(), seed=5, threads=3, **there)], expected)
    for graph, (begin, end) in enumerate(pairwise(PTR)):
        alone = mask_nodes(x[begin:end], generator=5, row_offset=11 * graph, **arguments)
        assert torch.equal(alone.x, expected[0][begin:end])
        for theirs, nodes in zip(expected[1:3], alone[1:3], strict=True):
            of_graph = theirs[begin:end]
            assert torch.equal(of_graph[of_graph >= 0] - begin, nodes)
    assert torch.equal(ours.mask.nonzero().flatten(), ours.masked_nodes[ours.masked_nodes >= 0].sort().values)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.int64, torch.complex64])
def test_types_and_strides(device, dtype):
    base = (torch.randn(90, 16, 2, device=device) * 3).to(dtype)
    for x in (base[..., 0], base[::2, 1::3, 1], base[..., 1].T, base[:1, :, 0].expand(70, 16), base[:, :0, 0]):
        ours = mask_nodes(x, 0.5, replace_rate=0.5, generator=1)
        assert ours.x.is_contiguous()
        assert all_equal(ours, reference.mask_nodes(x.cpu(), 0.5, replace_rate=0.5, seed=1))


@pytest.mark.parametrize(("edges", "p"), [(0, 0.5), (1, 1.0), (7, 0.0), (1001, 0.3), (300_000, 0.5)])
def test_drop_edges_equals_reference(device, edges, p):
    edge_index = torch.zeros(2, edges, dtype=torch.int64)
    expected = reference.drop_edges(edge_index, p, seed=5, row_offset=3)
    assert all_equal([drop_edges(edge_index.to(device), p, generator=5, row_offset=3)], [expected])
    arrays = host.drop_edges(edge_index.numpy(), p, seed=5, row_offset=3, threads=2)
    assert all_equal([torch.from_numpy(arrays)], [expected])


def test_drop_edges_of_batches(device):
    edge_index, ptr = torch.zeros(2, 300, dtype=torch.int64), torch.tensor(PTR)
    expected = reference.drop_edges(edge_index, 0.4, ptr=ptr, seed=2, sample_ids=torch.arange(6) * 3)
    ids = torch.arange(6, device=device) * 3
    ours = drop_edges(edge_index.to(device), 0.4, ptr=ptr.to(device), generator=2, sample_ids=ids)
    assert all_equal([ours], [expected])
    arrays = host.drop_edges(edge_index.numpy(), 0.4, ptr=ptr.numpy(), seed=2, sample_ids=np.arange(6) * 3, threads=3)
    assert all_equal([torch.from_numpy(arrays)], [expected])
    for graph, (begin, end) in enumerate(pairwise(PTR)):
        alone = drop_edges(edge_index[:, begin:end], 0.4, generator=2, row_offset=3 * graph)
        assert torch.equal(alone, expected[begin:end])


@pytest.mark.parametrize("nodes", [40, 200])
def test_nan_in_masked_nodes_is_gone(device, nodes):
    arguments = {"mask_rate": 0.5, "replace_rate": 0.5, "generator": 1}
    x = torch.ones(nodes, 3, device=device)
    mask = mask_nodes(x, **arguments).mask
    x[mask] = torch.nan
    x.requires_grad_()
    out = mask_nodes(x, **arguments).x
    assert out.isfinite().all()
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(grad[:, 0] == 0, mask)
    assert grad.sum() == out.detach().sum()
    assert mask_nodes(x, **arguments, mode="compat").x.isnan().any()  # GraphMAE's donors are any nodes


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("nodes", "mask_rate", "replace_rate"), [(12, 0.6, 0.4), (70, 0.5, 0.3), (15, 0.9, 0.9)])
def test_gradients_and_graphs(device, nodes, mask_rate, replace_rate, mode):
    x = torch.randn(nodes, 2, device=device, dtype=torch.float64, requires_grad=True)
    token = torch.randn(1, 2, device=device, dtype=torch.float64, requires_grad=True)
    ptr = torch.tensor([0, 3, 3, nodes], device=device)
    options = {"replace_rate": replace_rate, "keep_rate": 0.1, "mode": mode, "generator": 1}

    def call(x, token, ptr=ptr):
        return mask_nodes(x, mask_rate, mask_token=token, ptr=ptr, **options)

    assert torch.autograd.gradcheck(lambda *args: call(*args).x, (x, token))
    assert torch.autograd.gradgradcheck(lambda *args: call(*args).x, (x, token))
    assert torch.autograd.gradcheck(lambda t: call(x.detach(), t).x, token)
    assert torch.autograd.gradcheck(lambda t: call(t, None, None).x, x)
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert all_equal([t.detach() for t in compiled(x, token)], [t.detach() for t in call(x, token)])
    grads = [torch.autograd.grad(f(x, token).x.square().sum(), (x, token)) for f in (compiled, call)]
    assert all_equal(*grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_rounded_once_and_equal_for_any_threads(device, dtype):
    x = torch.randn(5000, 40, device=device).to(dtype).requires_grad_()
    token = torch.randn(40, device=device).to(dtype).requires_grad_()
    grad = torch.randn(5000, 40, device=device).to(dtype)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            out = mask_nodes(x, 0.9, replace_rate=0.8, mask_token=token, generator=1).x  # donors give seven times
            found.append(torch.autograd.grad(out, (x, token), grad))
    finally:
        torch.set_num_threads(threads)
    assert all_equal(*found)
    wide_x, wide_token = (t.detach().double().requires_grad_() for t in (x, token))
    out = mask_nodes(wide_x, 0.9, replace_rate=0.8, mask_token=wide_token, generator=1).x
    for ours, exact in zip(found[0], torch.autograd.grad(out, (wide_x, wide_token), grad.double()), strict=True):
        step = torch.finfo(dtype).eps * exact.abs() / 2
        assert ((ours.double() - exact).abs() <= step + 1e-4 * (dtype == torch.float32) + 1e-3).all()


@pytest.mark.parametrize("ptr", [[3, 7, 5, 900], [-5, 2, 2, 9], [9, 0], [2**62, -(2**62), 4]])
def test_a_wrong_ptr_touches_nothing_outside(ptr):
    """Where nobody looked, as in a compiled call: numbers of nodes are numbers of nodes."""
    x, seed, rule = torch.randn(9, 4), torch.tensor(1), (0.9, 0.5, 0.0)
    ptr = torch.tensor(ptr)
    for compat in (False, True):
        out, _, masked_nodes, kept_nodes = ops.node_mask(x, None, seed, None, ptr, *rule, compat, 0)
        assert out.isfinite().all()
        assert ((masked_nodes >= -1) & (masked_nodes < 9) & (kept_nodes >= -1) & (kept_nodes < 9)).all()
        grad, _ = ops.node_mask_backward(x, seed, None, ptr, *rule, compat, True, True, 0)
        assert grad.isfinite().all()
    assert ops.edge_mask(x, seed, None, ptr, 9, 1.0, 0).sum() <= 9


def test_composes(device):
    x, token = torch.randn(9, 4, device=device), torch.randn(4, device=device)
    seed, ptr, ids = torch.tensor(1), torch.tensor([0, 4, 9], device=device), torch.tensor([5, 3], device=device)
    for compat in (False, True):
        rule = (0.5, 0.5, 0.1, compat)
        torch.library.opcheck(ops.node_mask, (x, token, seed, None, None, *rule, 3))
        torch.library.opcheck(ops.node_mask, (x, None, seed, ids, ptr, *rule, 0))
        for needs in ((True, True), (True, False), (False, True)):
            torch.library.opcheck(ops.node_mask_backward, (x, seed, ids, ptr, *rule, *needs, 0))
    torch.library.opcheck(ops.edge_mask, (x, seed, None, None, 7, 0.5, 2))
    torch.library.opcheck(ops.edge_mask, (x, seed, ids, ptr, 9, 0.5, 0))
    edges = torch.zeros(2, 30, dtype=torch.int64, device=device)
    compiled = torch.compile(lambda e: drop_edges(e, 0.3, generator=1), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(edges), drop_edges(edges, 0.3, generator=1))


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
