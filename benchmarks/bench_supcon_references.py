"""SupCon against references that take no gradient, as those of a cross-batch memory, forward and backward, beside
pytorch-metric-learning's and the formula in torch, with one product and a mask.

Floor, N rows and K references of D numbers: 4 N K D FLOPs, the product and that of its gradient with the references.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, TOLERANCES
from benchmarks.harness import Call, Case, compiled

TEMPERATURE = 0.1
PER_LABEL = 64
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def make_inputs(device: torch.device, *, rows: int, references: int, width: int, dtype: torch.dtype) -> Inputs:
    ref_labels = torch.randperm(references) // PER_LABEL
    labels = ref_labels[:rows]
    centers = torch.randn(references // PER_LABEL, width)
    embeddings, ref_emb = (centers[y] + 2.0 * torch.randn(len(y), width) for y in (labels, ref_labels))
    leaf = embeddings.to(device, dtype).requires_grad_()
    return leaf, labels.to(device), ref_emb.to(device, dtype), ref_labels.to(device)


def ours() -> Loss:
    from sslfast.losses import supcon_loss

    return lambda z, y, r, ry: supcon_loss(z, y, TEMPERATURE, ref_emb=r, ref_labels=ry)


def theirs() -> Loss:
    criterion = peers.load("pytorch_metric_learning.losses").SupConLoss(TEMPERATURE)
    return lambda z, y, r, ry: criterion(z, y, ref_emb=r, ref_labels=ry)


def eager(z: Tensor, y: Tensor, r: Tensor, ry: Tensor) -> Tensor:
    """Every row has a positive here."""
    logits = normalize(z, dim=1) @ normalize(r, dim=1).T / TEMPERATURE
    same = y[:, None] == ry
    log_share = logits - logits.logsumexp(dim=1, keepdim=True)
    return -((log_share * same).sum(dim=1) / same.sum(dim=1)).mean()


def call(find: Callable[[], Loss], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the rows."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        return loss.detach(), *torch.autograd.grad(loss, inputs[:1])

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradient."""
    for name, tolerance, their, our in zip(
        ("loss", "gradient"), TOLERANCES[inputs[0].dtype], theirs, ours, strict=True
    ):
        relative = float((their - our).float().abs().max() / our.float().abs().max())
        assert relative <= tolerance, f"{name} differs by {relative:.1e} of its largest element"


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: eager),
    "torch.compile": partial(call, lambda: compiled(eager)),
    "pytorch-metric-learning SupConLoss": partial(call, theirs),
}


def case(rows: int, references: int, width: int, dtype: str = "fp32", **options: Any) -> Case:
    shape = {"rows": rows, "references": references, "width": width}
    return Case(
        op="supcon references",
        size=f"{rows}x{references}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, **shape, dtype=DTYPES[dtype]),
        providers=PROVIDERS,
        check=check,
        work=4 * rows * references * width,
        unit="FLOP",
        formula="4 N K D",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(64, 256, 128, quick=True),
        case(256, 256, 128, quick=True),
        case(256, 1024, 128, quick=True),
        case(256, 16384, 128, memory=True),
        case(1024, 65536, 128, "bf16", devices=("cuda",), memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
