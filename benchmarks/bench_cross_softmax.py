"""CLIP's loss, forward and backward, beside open_clip's and one matrix product with torch's cross entropy.

Floor, N pairs of D numbers: 6 N^2 D FLOPs, the product and two products of its gradient with the features; 8 N^2 D
where the logits are not kept and made again.

On a GPU also beside the peers that do not store the logits. memeff and inf-cl are made for this loss; cut-cross-entropy
and quack-kernels know one direction, a linear layer's cross entropy, and are called twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, check, needs_bf16_products, registers_and_strips
from benchmarks.gpu_grid import grid
from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor, Tensor]


def make_inputs(
    device: torch.device, *, pairs: int, width: int, dtype: torch.dtype, noise: float = 0.05, locked: bool = False
) -> Inputs:
    """The images take no gradient where ``locked``."""
    images = normalize(torch.randn(pairs, width, device=device), dim=1)
    texts = normalize(images + noise * torch.randn(pairs, width, device=device), dim=1)
    scale = torch.tensor(1 / 0.07, device=device, requires_grad=True)
    return images.to(dtype).requires_grad_(not locked), texts.to(dtype).requires_grad_(), scale


def one_product(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """One product, and cross entropy over its rows and over its columns."""
    logits = logit_scale * images @ texts.T
    labels = torch.arange(len(images), device=images.device)
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def ours() -> Callable[..., Tensor]:
    from sslfast.losses import CLIPLoss

    return CLIPLoss()


def open_clip() -> Callable[..., Tensor]:
    return peers.load("open_clip.loss").ClipLoss()


def memeff(inputs: Inputs) -> Call:
    """Its temperature is a number, so there is no gradient of the scale. ``stable=True``, the default, multiplies the
    gradients with another factor than the loss has."""
    images, texts, logit_scale = inputs
    make = peers.load("memeff").MemoryEfficientCLIPLoss
    loss_function = make(1 / float(logit_scale.detach()), normalized_inputs=True, stable=False)

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(images, texts)
        return loss.detach(), *torch.autograd.grad(loss, (images, texts))

    return forward_and_backward


def both_ways(one_way: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The mean of two calls of ``one_way(rows, columns, labels)``, which scales nothing."""

    def loss(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
        labels = torch.arange(len(images), device=images.device)
        return (one_way(logit_scale * images, texts, labels) + one_way(logit_scale * texts, images, labels)) / 2

    return loss


def inf_cl() -> Callable[..., Tensor]:
    """cal_inf_loss wants a process group for the gradient of the scale; without one it is the mean of this function."""
    flash_loss = peers.load("inf_cl").cal_flash_loss

    def one_way(rows: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
        head_dim = min(rows.shape[1] & -rows.shape[1], 256)  # a power of two that divides D
        return flash_loss(rows, columns, labels, head_dim=head_dim).mean()

    return both_ways(one_way)


def cut_cross_entropy() -> Callable[..., Tensor]:
    """Exact: by default it leaves out what is small in a softmax over words, which is most of this gradient."""
    return both_ways(partial(peers.load("cut_cross_entropy").linear_cross_entropy, filter_eps=None))


def quack() -> Callable[..., Tensor]:
    return both_ways(peers.load("quack.linear_cross_entropy").chunked_linear_cross_entropy)


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of both features, or of one, and of the scale."""
    loss_function = find()
    leaves = [z for z in inputs if z.requires_grad]

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(*inputs)
        grads = torch.autograd.grad(loss, leaves)
        return loss.detach(), grads[0], *grads[-2:]

    return forward_and_backward


def call_in_fp32(inputs: Inputs) -> Call:
    """sslfast on float32 copies: what bf16 inputs gain."""
    needs_bf16_products(inputs[0].device)
    return call(ours, tuple(z.detach().float().requires_grad_() for z in inputs))


PROVIDERS = {
    "sslfast": partial(call, ours),
    "eager torch": partial(call, lambda: one_product),
    "torch.compile": partial(call, lambda: compiled(one_product)),
    "open_clip ClipLoss": partial(call, open_clip),
}
IN_BF16 = PROVIDERS | {"sslfast, fp32 inputs": call_in_fp32}


GPU_PROVIDERS = PROVIDERS | {
    "memeff": memeff,
    "inf-cl": partial(call, inf_cl),
    "cut-cross-entropy twice": partial(call, cut_cross_entropy),
    "quack-kernels twice": partial(call, quack),
}
BOTH_WAYS = registers_and_strips(partial(call, ours))
STORING = ("eager torch", "torch.compile", "open_clip ClipLoss")


def check_features(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients of the features."""
    check(inputs[:2], theirs[:3], ours[:3])


def case(
    pairs: int,
    width: int,
    dtype: str = "fp32",
    noise: float = 0.05,
    *,
    op: str = "clip",
    locked: bool = False,
    **options: Any,
) -> Case:
    products = 4 if locked else 6
    inputs = {"pairs": pairs, "width": width, "dtype": DTYPES[dtype], "noise": noise, "locked": locked}
    options = {"providers": PROVIDERS} | options
    return Case(
        op=f"{op} locked" if locked else op,
        size=f"{pairs}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, **inputs),
        check=check_features,
        work=products * pairs**2 * width,
        unit="FLOP",
        formula=f"{products} N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        # So few pairs have to be less alike, or the peers' gradients of the small loss are off.
        case(32, 128, noise=0.2, quick=True, devices=("cpu",)),
        case(256, 128, quick=True),
        case(4096, 128, devices=("cpu",)),
        case(4096, 512, memory=True),
        case(4096, 512, "bf16", providers=IN_BF16, devices=("cpu",)),
        *grid(case, GPU_PROVIDERS, storing=STORING, largest=("memeff",), slow=("inf-cl", "cut-cross-entropy twice")),
        *(
            case(pairs, width, "bf16", op="clip both ways", providers=BOTH_WAYS, devices=("cuda",))
            for pairs, width in ((1024, 512), (4096, 128), (4096, 512), (8192, 256))
        ),
        *(
            case(16384, width, "bf16", op="clip both ways", locked=True, providers=BOTH_WAYS, devices=("cuda",))
            for width in (256, 512)
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
