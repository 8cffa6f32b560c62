"""Losses that are given positions, and those that compare all pairs, wait for no GPU: what they run on one, as
torch.compile traces it without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from contrastive_calls import CALLS
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

from sslfast.losses import (
    _few_pairs,
    hubert_loss,
    masked_code_loss,
    masked_feature_loss,
    masked_item_loss,
    masked_lm_loss,
    wav2vec2_contrastive_loss,
)

AT = torch.tensor([7, 2, -1, 4])
LABELS = torch.arange(10).view(2, 5) % 6
SEED = torch.tensor([3])
# What leaves the number of something, or a value, to the host.
WAITS = {"nonzero", "_local_scalar_dense", "masked_select", "unique", "_unique2", "repeat_interleave", "equal"}
LOSSES = {
    "hubert": lambda h, w, at: hubert_loss(h, w, LABELS, indices=at),
    "hubert, mean": lambda h, w, at: hubert_loss(h, w, LABELS, indices=at, reduction="mean"),
    "masked_lm": lambda h, w, at: masked_lm_loss(h, w, LABELS, indices=at),
    "masked_lm, none": lambda h, w, at: masked_lm_loss(h, w, LABELS, indices=at, reduction="none"),
    "masked_code": lambda h, w, at: masked_code_loss(h, w, LABELS, indices=at),
    "masked_code, prefix": lambda h, w, at: masked_code_loss(h, w, LABELS[:, 1:], indices=at, num_prefix_tokens=1),
    "masked_item": lambda h, w, at: masked_item_loss(h, w, LABELS, indices=at),
    "masked_item, sampled": lambda h, w, at: masked_item_loss(
        h, w, LABELS, indices=at, num_negatives=3, generator=SEED
    ),
    "masked_feature": lambda h, w, at: masked_feature_loss(h @ w.T, LABELS[..., None].expand(-1, -1, 6) * 1.0, ids=at),
    "wav2vec2": lambda h, w, at: wav2vec2_contrastive_loss(
        h @ w.T, LABELS[..., None].expand(-1, -1, 6) * 1.0, indices=at, num_negatives=3, generator=SEED
    ),
}


def traced(call: Callable[..., Tensor], *inputs: Tensor) -> list[torch.fx.Node]:
    """The operators of a loss and of its backward pass."""
    nodes: list[torch.fx.Node] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        nodes.extend(node for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend=aot_autograd(fw_compiler=keep))
    compiled(*inputs).sum().backward()
    return nodes


def names_in(nodes: list[torch.fx.Node]) -> set[str]:
    packets = {getattr(node.target, "_overloadpacket", node.target) for node in nodes}
    return {getattr(packet, "__name__", str(packet)) for packet in packets}


def of_positions(call: Callable[[Tensor, Tensor, Tensor], Tensor]) -> list[torch.fx.Node]:
    hidden, weight = torch.randn(2, 5, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    return traced(call, hidden, weight, AT)


@pytest.mark.parametrize("name", LOSSES)
def test_positions_are_not_counted(name: str) -> None:
    nodes = of_positions(LOSSES[name])
    names = names_in(nodes)
    assert not names & WAITS, names
    for node in nodes:
        if node.target is torch.ops.sslfast.linear_cross_entropy.default:
            assert node.args[3] is not None, "without an index the operator has to find the rows that have a target"
    assert any(str(node.target).startswith("sslfast.") for node in nodes), names


def test_the_trace_knows_a_loss_that_counts() -> None:
    """Without positions the operator gets no index, which is what a GPU is waited for."""
    nodes = of_positions(lambda h, w, at: masked_lm_loss(h, w, LABELS))
    calls = [node for node in nodes if node.target is torch.ops.sslfast.linear_cross_entropy.default]
    assert calls
    assert all(node.args[3] is None for node in calls)


@pytest.mark.parametrize("name", CALLS)
def test_contrastive_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tiles, as on a GPU."""
    monkeypatch.setattr(_few_pairs, "_MOST", 0)
    nodes = traced(CALLS[name], *(torch.randn(40, 8, requires_grad=True) for _ in range(2)))
    names = names_in(nodes)
    assert not names & WAITS, names
    assert any(str(node.target).startswith("sslfast.") for node in nodes), names
