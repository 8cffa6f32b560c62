"""Cross-entropy against a vocabulary, forward and backward: the loss of a masked language model from its last hidden
states, beside logits of every token (what transformers' BertForMaskedLM does) and of the masked ones, gathered first;
and with a target for every row, also with softcap, label smoothing, z-loss and metrics, which are to come free.

Floor, M rows with a target, hidden size H, vocabulary V: 6 M H V FLOPs, the logits and a product for each gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Call, Case, compiled

MASKED = 0.15


class Inputs(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor
    labels: Tensor
    indices: Tensor  # of the masked tokens


def make_inputs(
    device: torch.device, *, rows: int, length: int, width: int, words: int, dtype: torch.dtype, share: float
) -> Inputs:
    hidden, weight = torch.randn(rows, length, width), torch.randn(words, width) / width**0.5
    labels = torch.randint(0, words, (rows, length)).masked_fill(torch.rand(rows, length) >= share, -100)
    indices = (labels.flatten() != -100).nonzero().flatten()
    leaves = [z.to(device, dtype).requires_grad_() for z in (hidden, weight, torch.zeros(words))]
    return Inputs(*leaves, labels.to(device), indices.to(device))


def full_logits(x: Inputs) -> Tensor:
    return F.cross_entropy(F.linear(x.hidden, x.weight, x.bias).flatten(0, 1), x.labels.flatten())


def gather_first(x: Inputs) -> Tensor:
    masked = x.hidden.flatten(0, 1)[x.indices]
    return F.cross_entropy(F.linear(masked, x.weight, x.bias), x.labels.flatten()[x.indices])


def torch_linear_cross_entropy(x: Inputs) -> Tensor:
    masked = x.hidden.flatten(0, 1)[x.indices]
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(masked, x.weight, x.labels.flatten()[x.indices], linear_bias=x.bias, options=options)


def liger(x: Inputs) -> Tensor:
    loss = peers.load("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss()
    return loss(x.weight, x.hidden.flatten(0, 1), x.labels.flatten(), x.bias)


def cut_cross_entropy(x: Inputs) -> Tensor:
    """It knows no bias, which is zero here and gets a gradient of zero."""
    loss = peers.load("cut_cross_entropy").linear_cross_entropy
    return loss(x.hidden, x.weight, x.labels, filter_eps=None) + 0.0 * x.bias.sum()


def ours(x: Inputs) -> Tensor:
    from sslfast.losses import masked_lm_loss

    return masked_lm_loss(x.hidden, x.weight, x.labels, x.bias, indices=x.indices)


# What comes free: the name in a row, and the arguments.
EXTRAS: dict[str, dict[str, Any]] = {
    "softcap": {"softcap": 10.0},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 1e-4},
    "metrics": {"return_metrics": True},
}


def ours_with(extra: str, x: Inputs) -> Tensor:
    from sslfast.losses import linear_cross_entropy

    found = linear_cross_entropy(x.hidden, x.weight, x.labels, linear_bias=x.bias, **EXTRAS[extra])
    return found if isinstance(found, Tensor) else found.loss


def full_logits_with(extra: str, x: Inputs) -> Tensor:
    """What one writes in plain torch for the same."""
    logits, labels = F.linear(x.hidden, x.weight, x.bias).flatten(0, 1), x.labels.flatten()
    if extra == "softcap":
        logits = 10.0 * torch.tanh(logits / 10.0)
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1 if extra == "label_smoothing" else 0.0)
    if extra == "z_loss":
        loss = loss + 1e-4 * logits.logsumexp(1).square().mean()
    if extra == "metrics":
        with torch.no_grad():
            _ = (logits.argmax(1) == labels).float().mean(), loss.exp()
    return loss


def ours_without(x: Inputs) -> Tensor:
    from sslfast.losses import linear_cross_entropy

    return linear_cross_entropy(x.hidden, x.weight, x.labels, linear_bias=x.bias)


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Loss and gradients within the rounding of the peers' logits, which are in the dtype of the inputs."""
    eps = torch.finfo(inputs.hidden.dtype).eps
    for name, their, our in zip(("loss", "hidden", "weight", "bias"), theirs, ours, strict=True):
        if name == "bias" and not their.any():  # of a peer without
            continue
        their, our = their.float(), our.float()
        error = torch.linalg.vector_norm(our - their) / torch.linalg.vector_norm(their)
        assert error <= max(8 * eps, 1e-4), f"{name}: relative error {error:.1e}"


def call(loss_function: Callable[[Inputs], Tensor], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of hidden states, weight and bias."""
    leaves = list(inputs[:3])

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(inputs)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch (full logits)": partial(call, full_logits),
    "eager torch (gather first)": partial(call, gather_first),
    "torch linear_cross_entropy": partial(call, torch_linear_cross_entropy),
    "torch.compile": lambda inputs: call(compiled(gather_first), inputs),
}
GPU_PROVIDERS = PROVIDERS | {
    "liger-kernel": partial(call, liger),
    "cut-cross-entropy": partial(call, cut_cross_entropy),
}


def case(
    rows: int, length: int, width: int, words: int, dtype: str = "fp32", share: float = MASKED, **options: Any
) -> Case:
    options = {"providers": PROVIDERS} | options
    shape = {"rows": rows, "length": length, "width": width, "words": words, "share": share}
    return Case(
        op="masked_lm" if share < 1 else "linear_cross_entropy",
        size=f"{rows}x{length}x{width} of {words}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, **shape, dtype=DTYPES[dtype]),
        check=check,
        work=6 * round(rows * length * share) * width * words,
        unit="FLOP",
        formula="6 M H V",
        **options,
    )


def with_extra(extra: str) -> Case:
    providers = {
        "sslfast": partial(call, partial(ours_with, extra)),
        "eager torch (full logits)": partial(call, partial(full_logits_with, extra)),
    }
    if extra == "metrics":  # the same loss, whose price without them can stand beside it
        providers["sslfast without metrics"] = partial(call, ours_without)
    plain = case(8, 64, 128, 5000, share=1.0, providers=providers, quick=extra == "metrics", devices=("cpu",))
    return replace(plain, size=f"{plain.size}, {extra}")


def cases() -> list[Case]:
    return [
        *(with_extra(extra) for extra in EXTRAS),
        case(8, 64, 128, 5000, quick=True),
        case(64, 128, 256, 30522, memory=True, devices=("cpu",)),
        case(16, 128, 768, 30522, devices=("cpu",)),
        case(16, 128, 256, 30522, "bf16", devices=("cpu",)),
        case(8, 128, 256, 30522, share=1.0, devices=("cpu",)),
        case(64, 512, 768, 30522, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
        case(8, 512, 768, 30522, "bf16", share=1.0, devices=("cuda",), providers=GPU_PROVIDERS),
        case(64, 512, 1024, 128256, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
