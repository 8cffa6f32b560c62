"""Losses of masked patches, forward and backward, beside mae's, VideoMAE's and SimMIM's steps in torch.

Floor, M masked patches of D pixels, e bytes an element of the prediction and 4 of an image: each read once and every
gradient written once, M D (e + 4) + L D e a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Call, Case, compiled

Inputs = tuple[Tensor, Tensor, Tensor, tuple[int, ...]]
MASKED = {"mae": 0.75, "videomae": 0.9, "simmim": 0.6}


def make_inputs(
    device: torch.device, *, peer: str, shape: tuple[int, ...], patch: tuple[int, ...], dtype: torch.dtype
) -> Inputs:
    """Images, and what a decoder gives: no leaf of the graph. VideoMAE's decoder gives the masked tokens alone."""
    patches = math.prod(side // size for side, size in zip(shape[2:], patch, strict=True))
    masked = int(patches * MASKED[peer])
    order = torch.rand(shape[0], patches).argsort(1)
    images = torch.rand(shape)
    pixels = shape[1] * math.prod(patch)
    size = shape if peer == "simmim" else (shape[0], masked if peer == "videomae" else patches, pixels)
    pred = torch.randn(size, dtype=dtype).to(device).requires_grad_()
    places = order[:, :masked].sort(1)[0] if peer == "videomae" else order < masked
    return pred.view(size), images.to(device), places.to(device), patch


def mae(pred: Tensor, images: Tensor, mask: Tensor, patch: tuple[int, ...]) -> Tensor:
    """patchify and forward_loss, with norm_pix_loss."""
    p, h, w = patch[0], images.shape[2] // patch[0], images.shape[3] // patch[0]
    x = images.reshape(images.shape[0], images.shape[1], h, p, w, p)
    target = torch.einsum("nchpwq->nhwpqc", x).reshape(images.shape[0], h * w, -1)
    mean, var = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
    target = (target - mean) / (var + 1e-6) ** 0.5
    loss = ((pred - target) ** 2).mean(dim=-1)
    return (loss * mask).sum() / mask.sum()


def videomae(pred: Tensor, videos: Tensor, ids: Tensor, patch: tuple[int, ...]) -> Tensor:
    """The normalised targets of all tubelets, of which the masked ones are taken."""
    (t, p, q), (b, c, frames, height, width) = patch, videos.shape
    x = videos.reshape(b, c, frames // t, t, height // p, p, width // q, q)
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(1, 3).flatten(2, 4)
    x = (x - x.mean(dim=-2, keepdim=True)) / (x.var(dim=-2, unbiased=True, keepdim=True).sqrt() + 1e-6)
    mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device).scatter_(1, ids, True)
    return F.mse_loss(pred, x.flatten(2)[mask].reshape(pred.shape))


def simmim(pred: Tensor, images: Tensor, mask: Tensor, patch: tuple[int, ...]) -> Tensor:
    """The last lines of SimMIM.forward, its mask in cells of 4 pixels as its loader makes it."""
    rows, side = images.shape[0], images.shape[2] // patch[0]
    mask = mask.view(rows, side, side).long().repeat_interleave(patch[0] // 4, 1).repeat_interleave(patch[0] // 4, 2)
    mask = mask.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1).contiguous()
    return (F.l1_loss(images, pred, reduction="none") * mask).sum() / (mask.sum() + 1e-5) / images.shape[1]


def ours(peer: str, pred: Tensor, images: Tensor, places: Tensor, patch: tuple[int, ...]) -> Tensor:
    from sslfast.losses import masked_patch_loss

    if peer == "videomae":
        return masked_patch_loss(pred, images, ids=places, patch_size=patch, norm_pix="channel")
    kind = "l1" if peer == "simmim" else "mse"
    return masked_patch_loss(pred, images, places, patch, norm_pix=peer == "mae", kind=kind)


def call(find: Callable[[], Callable[..., Tensor]], inputs: Inputs) -> Call:
    """The timed call: the loss and the gradient of the prediction."""
    function = find()

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        loss = function(*inputs)
        return loss.detach(), torch.autograd.grad(loss, inputs[0])[0]

    return forward_and_backward


def check(inputs: Inputs, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    """The same loss, and the same gradient relative to its largest element, but for the sign of l1's near 0."""
    bound = 1e-4 if inputs[0].dtype == torch.float32 else 1e-2
    torch.testing.assert_close(ours[0].float(), theirs[0].float(), rtol=bound, atol=0)
    apart = (ours[1].float() - theirs[1].float()).abs() > bound * theirs[1].float().abs().max()
    assert float(apart.float().mean()) <= 1e-6, "another gradient"


PEERS = {"mae": mae, "videomae": videomae, "simmim": simmim}


def case(peer: str, shape: tuple[int, ...], patch: tuple[int, ...], dtype: str = "fp32", **options: Any) -> Case:
    patches = math.prod(side // size for side, size in zip(shape[2:], patch, strict=True))
    pixels, size = shape[1] * math.prod(patch), DTYPES[dtype].itemsize
    masked = int(patches * MASKED[peer])
    written = masked if peer == "videomae" else patches
    return Case(
        op=f"masked_patch ({peer})",
        size="x".join(map(str, shape)),
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_inputs, peer=peer, shape=shape, patch=patch, dtype=DTYPES[dtype]),
        providers={
            "sslfast": partial(call, lambda: partial(ours, peer)),
            f"eager torch ({peer})": partial(call, lambda: PEERS[peer]),
            f"torch.compile ({peer})": partial(call, lambda: compiled(PEERS[peer])),
        },
        check=check,
        work=shape[0] * pixels * (masked * (size + 4) + written * size),
        unit="B",
        formula="M D (e + 4) + L D e a row",
        **options,
    )


def cases() -> list[Case]:
    return [
        case("mae", (64, 3, 224, 224), (16, 16), memory=True),
        case("mae", (64, 3, 224, 224), (16, 16), "bf16"),
        case("mae", (8, 3, 32, 32), (4, 4), quick=True),
        case("videomae", (4, 3, 16, 224, 224), (2, 16, 16), memory=True),
        case("simmim", (64, 3, 192, 192), (32, 32), memory=True),
        case("mae", (512, 3, 224, 224), (16, 16), "bf16", devices=("cuda",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
