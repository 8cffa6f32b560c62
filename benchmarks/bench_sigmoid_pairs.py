"""SigLIP's loss, forward and backward, beside open_clip's and one matrix product with torch's logsigmoid.

Floor, N pairs of D numbers: 6 N^2 D FLOPs, the product and two products of its gradient with the features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, check, needs_bf16_products, registers_and_strips
from benchmarks.gpu_grid import grid
from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def make_inputs(device: torch.device, *, pairs: int, width: int, dtype: torch.dtype) -> Inputs:
    images = normalize(torch.randn(pairs, width, device=device), dim=1)
    texts = normalize(images + 0.05 * torch.randn(pairs, width, device=device), dim=1)
    scale, bias = (torch.tensor(value, device=device, requires_grad=True) for value in (10.0, -10.0))
    return *(z.to(device, dtype).requires_grad_() for z in (images, texts)), scale, bias


def one_product(images: Tensor, texts: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """One product, and the labels of the paper's pseudocode."""
    logits = logit_scale * images @ texts.T + logit_bias
    labels = 2 * torch.eye(len(images), dtype=logits.dtype, device=logits.device) - 1
    return -logsigmoid(labels * logits).sum() / len(images)


def ours() -> Callable[..., Tensor]:
    from sslfast.losses.siglip import SigLIPLoss

    return SigLIPLoss()


def open_clip() -> Callable[..., Tensor]:
    return peers.load("open_clip.loss").SigLipLoss()


def siglip_kernel() -> Callable[..., Tensor]:
    """It takes the logarithm of the scale, and returns the loss in the dtype of the features."""
    fused = peers.load("siglip_kernel").fused_siglip_loss

    def loss(images: Tensor, texts: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
        return fused(images, texts, logit_scale.log(), logit_bias)

    return loss


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of both features, of the scale and of the bias."""
    loss_function = find()

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        return loss.detach(), *torch.autograd.grad(loss, inputs)

    return forward_and_backward


def call_in_fp32(inputs: Inputs) -> Call:
    """sslfast on float32 copies: what bf16 inputs gain."""
    needs_bf16_products(inputs[0].device)
    return call(ours, tuple(z.detach().float().requires_grad_() for z in inputs))


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: one_product),
    "torch.compile": partial(call, lambda: compiled(one_product)),
    "open_clip SigLipLoss": partial(call, open_clip),
}
IN_BF16 = PROVIDERS | {"sslfast, fp32 inputs": call_in_fp32}


BOTH_WAYS = registers_and_strips(partial(call, ours))
GPU_PROVIDERS = PROVIDERS | {"siglip-kernel": partial(call, siglip_kernel)}
STORING = ("eager torch", "torch.compile", "open_clip SigLipLoss")


def check_features(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients of the features."""
    check(inputs[:2], theirs[:3], ours[:3])


def case(pairs: int, width: int, dtype: str = "fp32", op: str = "siglip", **options: Any) -> Case:
    options = {"providers": PROVIDERS} | options
    return Case(
        op=op,
        size=f"{pairs}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, pairs=pairs, width=width, dtype=DTYPES[dtype]),
        check=check_features,
        work=6 * pairs**2 * width,
        unit="FLOP",
        formula="6 N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        case(256, 128, quick=True),
        case(4096, 128, devices=("cpu",)),
        case(4096, 512, memory=True),
        case(4096, 512, "bf16", providers=IN_BF16, devices=("cpu",)),
        *grid(case, GPU_PROVIDERS, storing=STORING, largest=("siglip-kernel",)),
        *(
            case(pairs, width, "bf16", op="siglip both ways", providers=BOTH_WAYS, devices=("cuda",))
            for pairs, width in ((1024, 512), (4096, 128), (4096, 512), (8192, 256))
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
