"""Masked nodes and dropped edges beside GraphMAE's and PyTorch Geometric's rules in eager torch, written anew.

Floor of nodes: a row read where it does not become the token, and written, 8 bytes of list and one of mask; the
backward reads all of the gradient, for the token's, and writes that of x. Of edges: a byte written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled

RATE, REPLACE = 0.5, 0.1
TOKENS = RATE * (1 - REPLACE)


class Inputs(NamedTuple):
    x: Tensor
    token: Tensor
    ptr: Tensor
    batch: Tensor  # the graph of each node


def make_inputs(device: torch.device, *, graphs: int, nodes: int, width: int, backward: bool) -> Inputs:
    x, token = torch.randn(graphs * nodes, width), torch.full((1, width), 9.0)
    batch = torch.arange(graphs).repeat_interleave(nodes)
    ptr = torch.arange(graphs + 1) * nodes
    x, token = (t.to(device).requires_grad_(backward) for t in (x, token))
    return Inputs(x, token, ptr.to(device), batch.to(device))


def ours(inputs: Inputs) -> tuple[Tensor, ...]:
    from sslfast.masking import mask_nodes

    ptr = inputs.ptr if len(inputs.ptr) > 2 else None
    found = mask_nodes(inputs.x, RATE, replace_rate=REPLACE, mask_token=inputs.token, ptr=ptr)
    return found.x, found.mask


def graphmae(inputs: Inputs) -> tuple[Tensor, ...]:
    """The published rule over all nodes at once: a permutation of the nodes, one of the masked, one of the donors."""
    x, nodes = inputs.x, len(inputs.x)
    order = torch.randperm(nodes, device=x.device)
    masked = order[: int(RATE * nodes)]
    again = torch.randperm(len(masked), device=x.device)
    tokens = masked[again[: int((1 - REPLACE) * len(masked))]]
    replaced = masked[again[-int(REPLACE * len(masked)) :]]
    donors = torch.randperm(nodes, device=x.device)[: len(replaced)]
    out = x.clone()
    out[tokens] = 0.0
    out[replaced] = x[donors]
    out[tokens] += inputs.token
    return out, torch.zeros(nodes, dtype=torch.bool, device=x.device).index_fill(0, masked, True)


def by_sorting(inputs: Inputs) -> tuple[Tensor, ...]:
    """Exact counts in every graph: ranks of random keys by one sort; donors are the first nodes that are kept."""
    x, ptr, batch = inputs.x, inputs.ptr, inputs.batch
    order = torch.argsort(batch + torch.rand(len(x), device=x.device, dtype=torch.float64))
    place = torch.arange(len(x), device=x.device) - ptr[batch]
    masked = (ptr.diff() * RATE).long()[batch]
    replaced = (masked * REPLACE).long()
    is_token = place < masked - replaced
    is_replaced = (place < masked) & ~is_token
    donor = order[torch.where(is_replaced, ptr[batch] + masked + place - (masked - replaced), 0)]
    source = torch.empty_like(order).index_copy(0, order, torch.where(is_replaced, donor, order))
    mask, token = (torch.empty_like(is_token).index_copy(0, order, t) for t in (place < masked, is_token))
    return torch.where(token[:, None], inputs.token, x[source]), mask


def call(find: Callable[[], Callable[[Inputs], tuple[Tensor, ...]]], inputs: Inputs) -> Call:
    """The timed call: the features, and both gradients where they are asked for."""
    function, (x, token, *_) = find(), inputs
    if not x.requires_grad:
        return lambda: function(inputs)
    upstream = torch.randn_like(x)

    def forward_and_backward() -> tuple[Tensor, ...]:
        out, mask = function(inputs)
        return out, mask, *torch.autograd.grad(out, (x, token), upstream)

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Kept nodes are themselves, and the shares are the rule's."""
    for out, mask, *_ in (theirs, ours):
        assert torch.equal(out[~mask], inputs.x[~mask]), "a node changed outside the mask"
        assert abs(float(mask.float().mean()) - RATE) < 0.01, "another share is masked"
        tokens = (out[:, 0] == inputs.token[0, 0]).float().mean()
        assert abs(float(tokens) - TOKENS) < 0.05, "another share became the token"


def node_case(graphs: int, nodes: int, width: int, *, backward: bool = False, **options: Any) -> Case:
    elements = graphs * nodes * width
    per_graph = {"eager torch (a sort)": partial(call, lambda: by_sorting)} if graphs > 1 else {}
    whole = {"torch.compile": partial(call, lambda: compiled(graphmae))} if graphs == 1 and not backward else {}
    return Case(
        op="mask_nodes",
        size=f"{graphs}x{nodes}x{width}",
        dtype="fp32",
        mode="forward+backward" if backward else "forward",
        make_inputs=partial(make_inputs, graphs=graphs, nodes=nodes, width=width, backward=backward),
        providers={
            "sslfast": partial(call, lambda: ours),
            "eager torch (GraphMAE)": partial(call, lambda: graphmae),
            **per_graph,
            **whole,
        },
        check=check,
        work=elements * 4 * (2 - TOKENS + (2 if backward else 0)) + 9 * graphs * nodes,
        unit="B",
        formula="(1 - r) D e + D e + 9 a node" + (", + 2 D e backward" if backward else ""),
        **options,
    )


def edges(device: torch.device, *, count: int) -> Tensor:
    return torch.randint(count // 8, (2, count), device=device)


def our_edges(edge_index: Tensor) -> Call:
    from sslfast.masking import drop_edges

    return partial(drop_edges, edge_index, RATE)


def dropout_edge(edge_index: Tensor) -> Tensor:
    """PyTorch Geometric's mask of the edges that go."""
    return torch.rand(edge_index.shape[1], device=edge_index.device) < RATE


def check_edges(_: Tensor, theirs: Tensor, ours: Tensor) -> None:
    for dropped in (theirs, ours):
        assert abs(float(dropped.float().mean()) - RATE) < 0.01, "another share is dropped"


def edge_case(count: int, **options: Any) -> Case:
    return Case(
        op="drop_edges",
        size=f"{count}",
        dtype="int64",
        make_inputs=partial(edges, count=count),
        providers={
            "sslfast": our_edges,
            "eager torch (PyG)": lambda edge_index: partial(dropout_edge, edge_index),
            "torch.compile": lambda edge_index: partial(compiled(dropout_edge), edge_index),
        },
        check=check_edges,
        work=count,
        unit="B",
        formula="1 B an edge",
        **options,
    )


def cases() -> list[Case]:
    return [
        node_case(1, 169_343, 128),  # ogbn-arxiv
        node_case(1, 169_343, 128, backward=True),
        node_case(1, 2_708, 1_433, quick=True),  # Cora
        node_case(1_024, 24, 64),  # molecules
        node_case(1_024, 24, 64, backward=True, one_thread_only=True),
        edge_case(1_166_243),
        edge_case(10_556, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
