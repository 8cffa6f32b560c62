"""ELECTRA's loss of replaced tokens, forward and backward, beside transformers' formulation, which gathers the tokens.

Floor, of N rows of L tokens in float32: logits and labels read and the gradient written, 9 N L bytes, and N L bytes of
the attention mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled


class Inputs(NamedTuple):
    logits: Tensor
    replaced: Tensor
    attention_mask: Tensor


def make_inputs(device: torch.device, *, rows: int, length: int) -> Inputs:
    logits = torch.randn(rows, length).to(device).requires_grad_()
    tokens = torch.arange(length) < torch.randint(length // 2, length + 1, (rows, 1))
    return Inputs(logits, (torch.rand(rows, length) < 0.15).to(device), tokens.to(device))


def ours(x: Inputs) -> Tensor:
    from sslfast.losses import replaced_token_loss

    return replaced_token_loss(x.logits, x.replaced, x.attention_mask)


def gathered(x: Inputs) -> Tensor:
    """What transformers' ElectraForPreTraining computes."""
    active = x.attention_mask == 1
    return torch.nn.BCEWithLogitsLoss()(x.logits[active], x.replaced[active].float())


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-7)


def call(loss_function: Callable[[Inputs], Tensor], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the logits."""

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(inputs)
        return loss.detach(), *torch.autograd.grad(loss, inputs.logits)

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch (transformers' formulation)": partial(call, gathered),
    "sslfast, torch.compile": lambda inputs: call(compiled(ours), inputs),
}


def case(rows: int, length: int, **options: Any) -> Case:
    return Case(
        op="replaced_token",
        size=f"{rows}x{length}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers=PROVIDERS,
        check=check,
        work=10 * rows * length,
        unit="B",
        formula="10 N L",
        **options,
    )


def cases() -> list[Case]:
    return [case(32, 128, quick=True), case(64, 512), case(256, 512, devices=("cuda",))]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
