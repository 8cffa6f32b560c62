"""Regression of a teacher's features at masked tokens, forward and backward, beside data2vec's and I-JEPA's steps.

Floor, M masked tokens of D features, K layers of L tokens: targets and predictions read once and every gradient written
once, 4 M D (K + 2); statistics over the tokens (instance norms) read the layers once more, 4 K L D.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Call, Case, compiled


class Inputs(NamedTuple):
    pred: Tensor
    layers: list[Tensor]  # (T, B, C), as fairseq has them, or one (B, L, D)
    mask: Tensor  # (B, L)
    ids: Tensor  # flat positions (M,); of I-JEPA the blocks (B, R) one after the other
    blocks: list[Tensor]


def make_data2vec(device: torch.device, *, rows: int, length: int, width: int, layers: int) -> Inputs:
    """Half of the tokens are masked; the projection of these alone comes in."""
    mask = torch.rand(rows, length).argsort(1) < length // 2
    ids = mask.flatten().nonzero().flatten()
    pred = torch.randn(len(ids), width).to(device).requires_grad_()
    teacher = [torch.randn(length, rows, width).to(device) for _ in range(layers)]
    return Inputs(pred.view(len(ids), width), teacher, mask.to(device), ids.to(device), [])


def make_ijepa(device: torch.device, *, rows: int, length: int, width: int, layers: int) -> Inputs:
    """Four blocks of 20 tokens each, all of them predicted from one context."""
    blocks = [torch.rand(rows, length).argsort(1)[:, :20].sort(1)[0].to(device) for _ in range(4)]
    pred = torch.randn(4 * rows, 20, width).to(device).requires_grad_()
    teacher = [torch.randn(rows, length, width).to(device)]
    return Inputs(pred.view(4 * rows, 20, width), teacher, blocks[0], blocks[0], blocks)


def data2vec(x: Inputs, norm: str) -> Tensor:
    """Data2VecAudioModel.forward: every layer normalised whole, averaged, normalised, then masked; loss_beta 0."""
    results = x.layers
    if norm == "instance":
        results = [F.instance_norm(layer.permute(1, 2, 0)).transpose(1, 2) for layer in results]
        y = sum(results) / len(results)
    else:
        results = [F.layer_norm(layer, layer.shape[-1:]) for layer in results]
        y = (sum(results) / len(results)).transpose(0, 1)
    y = F.layer_norm(y, y.shape[-1:])[x.mask]
    loss = F.mse_loss(x.pred, y, reduction="none").sum(dim=-1)
    return loss.sum() * x.pred.shape[1] ** -0.5 / loss.numel()


def ijepa(x: Inputs, _: str) -> Tensor:
    """forward_target, with apply_masks, and loss_fn."""
    h = F.layer_norm(x.layers[0], (x.layers[0].size(-1),))
    index = [block.unsqueeze(-1).repeat(1, 1, h.size(-1)) for block in x.blocks]
    return F.smooth_l1_loss(x.pred, torch.cat([torch.gather(h, 1, i) for i in index], dim=0))


def ours(x: Inputs, norm: str) -> Tensor:
    from sslfast.losses import masked_feature_loss

    if x.blocks:
        return masked_feature_loss(x.pred, x.layers[0], ids=x.blocks, norm_targets="layer")
    layers = [layer.transpose(0, 1) for layer in x.layers]
    options = {"kind": "mse", "norm_layers": norm, "norm_targets": "layer", "scale": x.pred.shape[1] ** -0.5}
    return masked_feature_loss(x.pred, layers, ids=x.ids, **options)


def call(find: Callable[[], Callable[..., Tensor]], norm: str, inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the prediction."""
    function = find()

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        loss = function(inputs, norm)
        return loss.detach(), torch.autograd.grad(loss, inputs.pred)[0]

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    """The same loss, and the same gradient relative to its largest element."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=0)
    assert float((ours[1] - theirs[1]).abs().max()) <= 1e-4 * float(theirs[1].abs().max()), "another gradient"


def case(peer: str, rows: int, length: int, width: int, layers: int, norm: str = "layer", **options: Any) -> Case:
    masked = rows * (80 if peer == "ijepa" else length // 2)
    theirs = ijepa if peer == "ijepa" else data2vec
    moments = layers * rows * length * width if norm == "instance" else 0
    name = peer if peer == "ijepa" else f"{peer}, {norm} norm"
    return Case(
        op=f"masked_feature ({name})",
        size=f"{layers} of {rows}x{length}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(
            make_ijepa if peer == "ijepa" else make_data2vec, rows=rows, length=length, width=width, layers=layers
        ),
        providers={
            "sslfast": partial(call, lambda: ours, norm),
            f"eager torch ({peer})": partial(call, lambda: theirs, norm),
            f"torch.compile ({peer})": partial(call, lambda: compiled(theirs), norm),
        },
        check=check,
        work=4 * (masked * width * (layers + 2) + moments),
        unit="B",
        formula="4 M D (K + 2)" + (" + 4 K L D" if moments else ""),
        **options,
    )


def cases() -> list[Case]:
    return [
        case("data2vec", 8, 500, 768, 8, memory=True),
        case("data2vec", 8, 500, 768, 8, "instance", memory=True),
        case("data2vec", 4, 50, 64, 8, quick=True),
        case("ijepa", 64, 196, 768, 1, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
