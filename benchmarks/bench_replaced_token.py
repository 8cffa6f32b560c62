"""ELECTRA's loss of replaced tokens, forward and backward, beside transformers' formulation, which gathers the tokens.

Floor, of N rows of L tokens in float32: logits and labels read and the gradient written, 9 N L bytes, and N L bytes of
the attention mask; 6 N L in half types. The gather, its indices, the float labels and the steps of the loss, back too,
move some 150 N L bytes: by that 10 times and more where the tokens are many, and 2 to 3 times where the host's steps
are all there is. An exponential, a logarithm and a quotient a token are what keeps from it.
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
    logits: Tensor
    replaced: Tensor
    attention_mask: Tensor


def make_inputs(device: torch.device, *, rows: int, length: int, dtype: torch.dtype) -> Inputs:
    logits = torch.randn(rows, length).to(dtype).to(device).requires_grad_()
    tokens = torch.arange(length) < torch.randint(length // 2, length + 1, (rows, 1))
    return Inputs(logits, (torch.rand(rows, length) < 0.15).to(device), tokens.to(device))


def ours(x: Inputs) -> Tensor:
    from sslfast.losses import replaced_token_loss

    return replaced_token_loss(x.logits, x.replaced, x.attention_mask)


def gathered(x: Inputs) -> Tensor:
    """What transformers' ElectraForPreTraining computes."""
    active = x.attention_mask == 1
    return torch.nn.BCEWithLogitsLoss()(x.logits[active], x.replaced[active].float())


def weighted(x: Inputs) -> Tensor:
    """Plain torch without a gather: padding has weight 0."""
    labels, weight = x.replaced.float(), x.attention_mask.float()
    return F.binary_cross_entropy_with_logits(x.logits.float(), labels, weight, reduction="sum") / weight.sum()


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss, and the same gradient, which peers may round twice in half types."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-7)
    rtol = 1e-5 if inputs.logits.dtype == torch.float32 else 2 * torch.finfo(inputs.logits.dtype).eps
    torch.testing.assert_close(ours[1], theirs[1], rtol=rtol, atol=1e-7)


def call(loss_function: Callable[[Inputs], Tensor], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the logits."""

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(inputs)
        return loss.detach(), *torch.autograd.grad(loss, inputs.logits)

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch (transformers' formulation)": partial(call, gathered),
    "eager torch (no gather)": partial(call, weighted),
    "torch.compile (no gather)": lambda inputs: call(compiled(weighted), inputs),
    "sslfast, torch.compile": lambda inputs: call(compiled(ours), inputs),
}


def case(rows: int, length: int, dtype: torch.dtype = torch.float32, **options: Any) -> Case:
    floats = dtype == torch.float32
    return Case(
        op="replaced_token",
        size=f"{rows}x{length}",
        dtype="fp32" if floats else "bf16",
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, length=length, dtype=dtype),
        providers=PROVIDERS,
        check=check,
        work=(10 if floats else 6) * rows * length,
        unit="B",
        formula="10 N L" if floats else "6 N L",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(8, 128, quick=True),
        case(32, 128),
        case(64, 512),
        case(64, 512, torch.bfloat16),
        case(256, 512, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
