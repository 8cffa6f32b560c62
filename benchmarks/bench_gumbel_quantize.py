"""The Gumbel vector quantiser of wav2vec 2.0 behind its linear layer, forward and backward, beside transformers' module
and a formulation in plain torch that looks vectors up by number and multiplies the softmax only for its gradient. And
the diversity loss of its perplexity, a handful of operators on a scalar, which is to cost no more than they do.

Floor, N frames, G groups, V codes, width d of a vector: 2 N G V d FLOPs, the product that the softmax's gradient needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Call, Case, compiled

GROUPS, CODES, WIDTH, TEMPERATURE = 2, 320, 256, 2.0


class Inputs(NamedTuple):
    logits: Tensor  # (B, T, G, V)
    codebook: Tensor  # (G, V, d)
    mask: Tensor
    upstream: Tensor


def make_inputs(device: torch.device, *, batch: int, length: int, dtype: torch.dtype) -> Inputs:
    leaves = [torch.randn(batch, length, GROUPS, CODES), torch.rand(GROUPS, CODES, WIDTH // GROUPS)]
    logits, codebook = (z.to(device, dtype).requires_grad_() for z in leaves)
    mask = torch.rand(batch, length).to(device) < 0.5
    return Inputs(logits, codebook, mask, torch.randn(batch, length, WIDTH).to(device, dtype))


def ours(x: Inputs) -> tuple[Tensor, Tensor]:
    from sslfast.losses import gumbel_quantize

    out = gumbel_quantize(x.logits, x.codebook, x.mask, temperature=TEMPERATURE)
    return out.quantized, out.perplexity


def hugging_face(x: Inputs) -> tuple[Tensor, Tensor]:
    """Its module, whose linear layer passes the logits on."""
    module = peers.load("transformers.models.wav2vec2.modeling_wav2vec2").Wav2Vec2GumbelVectorQuantizer
    quantizer = module.__new__(module)
    torch.nn.Module.__init__(quantizer)
    quantizer.num_groups, quantizer.num_vars, quantizer.temperature = GROUPS, CODES, TEMPERATURE
    quantizer.weight_proj = torch.nn.Identity()
    quantizer.codevectors = x.codebook.reshape(1, GROUPS * CODES, -1)
    result: tuple[Tensor, Tensor] = quantizer(x.logits.flatten(2), x.mask)
    return result


class _Straight(torch.autograd.Function):
    """Rows by number; the gradient of the softmax in their place."""

    @staticmethod
    def forward(ctx, soft, codebook):  # type: ignore[no-untyped-def]
        at = soft.argmax(-1) + CODES * torch.arange(GROUPS, device=soft.device)
        ctx.save_for_backward(at, codebook)
        return codebook.flatten(0, 1)[at]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        at, codebook = ctx.saved_tensors
        d_book = torch.zeros_like(codebook).flatten(0, 1).index_add_(0, at.flatten(), grad.flatten(0, 1))
        return torch.einsum("ngd,gvd->ngv", grad, codebook), d_book.view_as(codebook)


def by_number(x: Inputs) -> tuple[Tensor, Tensor]:
    logits = x.logits.flatten(0, 1).float()
    noise = -torch.empty_like(logits).exponential_().log()
    soft = torch.softmax((logits + noise) / TEMPERATURE, dim=-1).to(x.codebook.dtype)
    mean = (torch.softmax(logits, dim=-1) * x.mask.flatten()[:, None, None]).sum(0) / x.mask.sum()
    perplexity = torch.exp(-torch.xlogy(mean, mean).sum(-1)).sum()
    return _Straight.apply(soft, x.codebook).view_as(x.upstream), perplexity


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Draws differ; perplexities do not, nor the size of what is picked and of gradients."""
    torch.testing.assert_close(theirs[1].float(), ours[1].float(), rtol=1e-2, atol=0.0)
    for their, our in zip((theirs[0], *theirs[2:]), (ours[0], *ours[2:]), strict=True):
        assert their.shape == our.shape
        ratio = torch.linalg.vector_norm(our.float()) / torch.linalg.vector_norm(their.float())
        assert 0.95 < ratio < 1.05, f"{float(ratio):.3f} of the peer's size"


def call(function: Callable[[Inputs], tuple[Tensor, Tensor]], inputs: Inputs) -> Call:
    """The timed call: vectors and perplexity, and the gradients of logits and codebook of both."""
    leaves = list(inputs[:2])

    def forward_and_backward() -> tuple[Tensor, ...]:
        quantized, perplexity = function(inputs)
        one = torch.ones_like(perplexity)
        grads = torch.autograd.grad((quantized, perplexity), leaves, (inputs.upstream.to(quantized.dtype), one))
        return quantized.detach(), perplexity.detach(), *grads

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "transformers": partial(call, hugging_face),
    "eager torch (by number)": partial(call, by_number),
}
GPU_PROVIDERS = PROVIDERS | {"torch.compile": lambda inputs: call(compiled(hugging_face), inputs)}


def case(batch: int, length: int, dtype: str = "fp32", **options: Any) -> Case:
    return Case(
        op="gumbel_quantize",
        size=f"{batch}x{length}, {GROUPS}x{CODES} codes, {WIDTH}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, batch=batch, length=length, dtype=DTYPES[dtype]),
        providers=options.pop("providers", PROVIDERS),
        check=check,
        work=2 * batch * length * CODES * WIDTH,
        unit="FLOP",
        formula="2 N G V d",
        **options,
    )


class Codes(NamedTuple):
    perplexity: Tensor
    mask: Tensor


def make_codes(device: torch.device, *, batch: int, length: int) -> Codes:
    return Codes(torch.tensor(100.0, device=device, requires_grad=True), torch.rand(batch, length).to(device) < 0.5)


def our_diversity(x: Codes) -> tuple[Tensor, ...]:
    from sslfast.losses import diversity_loss

    loss = diversity_loss(x.perplexity, GROUPS * CODES, x.mask)
    return loss.detach(), *torch.autograd.grad(loss, x.perplexity)


def plain_diversity(x: Codes) -> tuple[Tensor, ...]:
    """transformers' line."""
    loss = (GROUPS * CODES - x.perplexity) / (GROUPS * CODES) * x.mask.sum()
    return loss.detach(), *torch.autograd.grad(loss, x.perplexity)


def check_diversity(inputs: Codes, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(their, our)


def diversity(batch: int, length: int) -> Case:
    return Case(
        op="diversity_loss",
        size=f"{batch}x{length}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_codes, batch=batch, length=length),
        providers={
            "sslfast": lambda inputs: partial(our_diversity, inputs),
            "eager torch (transformers' line)": lambda inputs: partial(plain_diversity, inputs),
        },
        check=check_diversity,
        work=batch * length,
        unit="B",
        formula="the mask is read",
        quick=True,
    )


def cases() -> list[Case]:
    return [
        diversity(16, 500),
        case(2, 100, quick=True),
        case(4, 500, memory=True, devices=("cpu",)),
        case(8, 1500, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
