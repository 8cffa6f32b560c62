"""SigLIP's loss with each of its options, forward and backward, beside the formula in plain torch.

Floor, N pairs of D numbers: 6 N^2 D FLOPs, the product and two products of its gradient with the features; 6 N H D for
H hard negatives of one image each. The rule: never slower than eager torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from benchmarks import bench_thin_losses
from benchmarks.bench_info_nce_options import check_norms
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Call, Case, compiled

HARD, MARGIN, SMOOTHING = 8, 0.0, 0.1
Inputs = dict[str, Tensor]  # arguments of siglip_loss by name


class Option(NamedTuple):
    """Tensors that go with N pairs of D numbers, by name, and other arguments."""

    tensors: Callable[[int, int], Inputs] = lambda n, d: {}
    arguments: Mapping[str, float] = {}
    hard: int = 0


def ids(n: int, _: int) -> Inputs:
    """Every image is there about twice."""
    drawn = torch.randint(n // 2, (n,))
    return {"image_ids": drawn, "text_ids": drawn.clone()}


def hard(n: int, d: int) -> Inputs:
    return {"negative_keys": normalize(torch.randn(n, HARD, d), dim=2)}


OPTIONS = {
    "ids": Option(ids),
    "margin": Option(arguments={"margin": MARGIN}),
    "label_smoothing": Option(arguments={"label_smoothing": SMOOTHING}),
    "hard negatives": Option(hard, hard=HARD),
    "all options": Option(
        lambda n, d: ids(n, d) | hard(n, d), {"margin": MARGIN, "label_smoothing": SMOOTHING}, hard=HARD
    ),
}


def make_inputs(
    device: torch.device, *, pairs: int, width: int, option: Option, dtype: torch.dtype = torch.float32
) -> Inputs:
    """Texts so far from their images that the margin leaves some out: wide rows drawn at random hardly resemble."""
    images = normalize(torch.randn(pairs, width), dim=1)
    noise = (4.0 if width < 512 else 6.0) / width**0.5
    features = {
        "image_features": images,
        "text_features": normalize(images + noise * torch.randn(pairs, width), dim=1),
    } | option.tensors(pairs, width)
    made = {name: z.to(device, dtype if z.is_floating_point() else z.dtype) for name, z in features.items()}
    made |= {name: torch.tensor(x, device=device) for name, x in (("logit_scale", 10.0), ("logit_bias", -10.0))}
    return {name: z.requires_grad_(z.is_floating_point()) for name, z in made.items()}


def eager(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    margin: float | None = None,
    label_smoothing: float = 0.0,
    negative_keys: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropies, of which what is left out has weight 0."""
    similarities = image_features @ text_features.T
    count = len(similarities)
    own = torch.eye(count, dtype=similarities.dtype, device=similarities.device)
    limits = None if margin is None else similarities.detach().diagonal()[:, None] + margin
    weights = None
    if limits is not None:
        weights = (similarities <= limits).to(own.dtype)
    if image_ids is not None and text_ids is not None:
        apart = (image_ids[:, None] != text_ids).to(own.dtype)
        weights = apart if weights is None else weights * apart
    weights = None if weights is None else weights.fill_diagonal_(1.0)
    targets = own * (1.0 - label_smoothing) + label_smoothing / 2 if label_smoothing else own
    logits = logit_scale * similarities + logit_bias
    total = binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
    if negative_keys is not None:
        similarities = torch.einsum("nd,nhd->nh", image_features, negative_keys)
        weights = None if limits is None else (similarities <= limits).to(own.dtype)
        targets = torch.full_like(similarities, label_smoothing / 2)
        logits = logit_scale * similarities + logit_bias
        total = total + binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
    return total / count


def ours() -> Callable[..., Tensor]:
    from sslfast.losses import siglip_loss

    return siglip_loss


def call(find: Callable[[], Callable[..., Tensor]], option: Option, inputs: Inputs) -> Call:
    """The timed call: the loss and the gradients of all that takes one."""
    loss_function = find()
    leaves = [z for z in inputs.values() if z.requires_grad]

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(**inputs, **option.arguments)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """The same loss and the same gradients, to the rounding of the inputs; of bf16 those of the features alone, for
    those of scale and bias are sums of N^2 roundings."""
    if inputs["image_features"].dtype == torch.bfloat16:
        theirs, ours = ((found[0], *(z for z in found[1:] if z.dim())) for found in (theirs, ours))
        check_norms(theirs, ours)
    else:
        bench_thin_losses.check(inputs, theirs, ours)


def case(name: str, pairs: int, width: int, dtype: str = "fp32", *, on_gpu: bool = False, **options: Any) -> Case:
    option = OPTIONS[name]
    providers = {"sslfast": partial(call, ours, option), "eager torch": partial(call, lambda: eager, option)}
    if on_gpu:
        providers["torch.compile"] = partial(call, lambda: compiled(eager), option)
    return Case(
        op=f"siglip {name}",
        size=f"{pairs}x{width}",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, pairs=pairs, width=width, option=option, dtype=DTYPES[dtype]),
        providers=providers,
        check=check,
        work=(6 * pairs + 6 * option.hard) * pairs * width,
        unit="FLOP",
        formula="6 N^2 D" + f" + {6 * option.hard} N D" * (option.hard > 0),
        devices=("cuda",) if on_gpu else ("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        *(case(name, 256, 128, quick=name == "all options") for name in OPTIONS),
        *(case(name, 64, 128) for name in ("ids", "margin", "label_smoothing")),
        *(case(name, 4096, 128) for name in ("ids", "margin")),
        *(case(name, 8192, 512, "bf16", on_gpu=True) for name in OPTIONS),
        case("all options", 65536, 512, "bf16", on_gpu=True, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
