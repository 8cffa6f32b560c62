"""Losses against named rows of a table, forward and backward: wav2vec 2.0's contrastive loss beside transformers',
which gathers the distractors of every frame; beside fairseq's, which gathers those of the masked frames; and beside a
Gram matrix for each utterance, of which scalars are gathered. And the loss of masked items against drawn ones, beside
plain torch, which gathers them, and against all items, beside RecBole's BERT4Rec.

Floor, M masked frames, K distractors, width D: 6 M (K + 1) D FLOPs, a product for the logits and one for each gradient;
of all V items 6 M V D.
"""

from __future__ import annotations

import math
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

TEMPERATURE = 0.1
NEGATIVES = 128  # of a masked item


class Items(NamedTuple):
    hidden: Tensor
    weight: Tensor
    labels: Tensor
    indices: Tensor  # of the masked items


class Frames(NamedTuple):
    context: Tensor
    targets: Tensor
    mask: Tensor
    negatives: Tensor
    indices: Tensor  # of the masked frames


def make_frames(
    device: torch.device, *, batch: int, length: int, width: int, negatives: int, dtype: torch.dtype
) -> Frames:
    from sslfast.masking import sample_negatives, time_mask

    leaves = [torch.randn(batch, length, width).to(device, dtype).requires_grad_() for _ in range(2)]
    mask = time_mask(batch, length, generator=0, device=device)
    return Frames(*leaves, mask, sample_negatives(mask, negatives, generator=1), mask.flatten().nonzero().flatten())


def make_items(device: torch.device, *, batch: int, length: int, width: int, items: int) -> Items:
    hidden, weight = torch.randn(batch, length, width), torch.randn(items, width) / width**0.5
    labels = torch.randint(0, items, (batch, length)).masked_fill(torch.rand(batch, length) >= 0.2, -100)
    at = (labels.flatten() != -100).nonzero().flatten()
    return Items(*(z.to(device).requires_grad_() for z in (hidden, weight)), labels.to(device), at.to(device))


def drawn_items(x: Items) -> Tensor:
    from sslfast.losses import masked_item_loss

    return masked_item_loss(x.hidden, x.weight, x.labels, indices=x.indices, num_negatives=NEGATIVES, generator=0)


def gathered_items(x: Items) -> Tensor:
    labels = x.labels.flatten()[x.indices]
    others = torch.randint(0, len(x.weight), (len(labels), NEGATIVES), device=labels.device)
    rows = x.weight[torch.cat([labels[:, None], others], dim=1)]
    logits = torch.einsum("rd,rkd->rk", x.hidden.flatten(0, 1)[x.indices], rows)
    less = math.log(NEGATIVES / len(x.weight))
    others_only = (logits[:, 1:] - less).masked_fill(others == labels[:, None], float("-inf"))
    return F.cross_entropy(torch.cat([logits[:, :1], others_only], dim=1), torch.zeros_like(labels))


def all_items(x: Items) -> Tensor:
    from sslfast.losses import masked_item_loss

    return masked_item_loss(x.hidden, x.weight, x.labels, indices=x.indices)


def make_histories(device: torch.device, *, batch: int, length: int, width: int, items: int) -> Items:
    """Items of which a history has no more masked ones than RecBole has places for."""
    x = make_items(device, batch=batch, length=length, width=width, items=items)
    has = x.labels != -100
    labels = x.labels.masked_fill(has.cumsum(1) > int(0.2 * length), -100)
    return x._replace(labels=labels, indices=(labels.flatten() != -100).nonzero().flatten())


def recbole_items(x: Items) -> Tensor:
    """RecBole 1.2's BERT4Rec with ``loss_type="CE"``: every history has the same number of places for masked items, of
    which those without one have weight 0; a product with one-hot rows picks their hidden states.
    """
    length = x.labels.shape[1]
    has = x.labels != -100
    order = (~has).long().argsort(dim=1, stable=True)[:, : int(0.2 * length)]
    counts = has.gather(1, order).flatten().float()
    picked = torch.bmm(F.one_hot(order, length).float(), x.hidden).flatten(0, 1)
    losses = F.cross_entropy(picked @ x.weight.T, x.labels.gather(1, order).flatten().clamp_min(0), reduction="none")
    return (losses * counts).sum() / counts.sum()


def check_all_items(inputs: Items, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(their, our, rtol=1e-4, atol=1e-4 * float(our.abs().max()))


def check_items(inputs: Items, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Draws differ; the loss and the size of the hidden states' gradient hardly do."""
    torch.testing.assert_close(theirs[0], ours[0], rtol=2e-2, atol=0.0)
    ratio = torch.linalg.vector_norm(ours[1]) / torch.linalg.vector_norm(theirs[1])
    assert 0.9 < ratio < 1.1, f"{float(ratio):.3f} of the peer's gradient"


def ours(x: Frames) -> Tensor:
    from sslfast.losses import wav2vec2_contrastive_loss

    return wav2vec2_contrastive_loss(x.context, x.targets, None, x.negatives, indices=x.indices)


def ours_from_the_mask(x: Frames) -> Tensor:
    from sslfast.losses import wav2vec2_contrastive_loss

    return wav2vec2_contrastive_loss(x.context, x.targets, x.mask, num_negatives=x.negatives.shape[2], generator=1)


def hugging_face(x: Frames) -> Tensor:
    """The lines of its model's forward around its own logits."""
    model = peers.load("transformers.models.wav2vec2.modeling_wav2vec2").Wav2Vec2ForPreTraining
    batch, length, width = x.targets.shape
    gathered = x.targets.view(-1, width)[x.negatives.long().view(-1)]
    gathered = gathered.view(batch, length, -1, width).permute(2, 0, 1, 3)
    logits = model.compute_contrastive_logits(x.targets[None], gathered, x.context, TEMPERATURE)
    same = (x.targets == gathered).all(-1)
    if same.any():
        logits[1:][same] = float("-inf")
    logits = logits.transpose(0, 2).reshape(-1, logits.size(0))
    target = ((1 - x.mask.long()) * -100).transpose(0, 1).flatten()
    return F.cross_entropy(logits.float(), target, reduction="sum")


def fairseq(x: Frames) -> Tensor:
    """What its model and criterion compute, of masked frames alone."""
    flat = x.targets.flatten(0, 1)
    context, right = x.context.flatten(0, 1)[x.indices], flat[x.indices]
    others = flat[x.negatives.flatten(0, 1)[x.indices].long().T]
    same = (right == others).all(-1)
    logits = torch.cosine_similarity(context.float(), torch.cat([right[None], others]).float(), dim=-1) / TEMPERATURE
    logits = torch.cat([logits[:1], logits[1:].masked_fill(same, float("-inf"))])
    return F.cross_entropy(logits.T, torch.zeros_like(x.indices), reduction="sum")


def gram(x: Frames) -> Tensor:
    """All similarities of an utterance, of which those of the distractors are picked; equal targets stay."""
    length = x.mask.shape[1]
    context, targets = (F.normalize(z.float(), dim=2) for z in (x.context, x.targets))
    logits = (context @ targets.mT).flatten(0, 1)[x.indices] / TEMPERATURE
    at = torch.cat([x.indices[:, None], x.negatives.flatten(0, 1)[x.indices].long()], dim=1) % length
    return F.cross_entropy(logits.gather(1, at), torch.zeros_like(x.indices), reduction="sum")


def check(inputs: Any, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Loss and gradients within the rounding of peers, which round logits to the dtype of the inputs."""
    eps = torch.finfo(inputs[0].dtype).eps
    for name, their, our in zip(("loss", *inputs._fields[:2]), theirs, ours, strict=True):
        error = torch.linalg.vector_norm(our.float() - their.float()) / torch.linalg.vector_norm(their.float())
        assert error <= max(8 * eps, 1e-4), f"{name}: relative error {error:.1e}"


def call(loss_function: Callable[[Any], Tensor], inputs: Any) -> Call:
    """The timed call: the loss and the gradients of its leaves, the first two of the inputs."""
    leaves = list(inputs[:2])

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = loss_function(inputs)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return forward_and_backward


PROVIDERS = {
    "sslfast": partial(call, ours),
    "sslfast (distractors drawn in the call)": partial(call, ours_from_the_mask),
    "transformers": partial(call, hugging_face),
    "eager torch (fairseq's formulation)": partial(call, fairseq),
    "eager torch (Gram matrix)": partial(call, gram),
}
GPU_PROVIDERS = PROVIDERS | {"torch.compile": lambda inputs: call(compiled(gram), inputs)}


def contrastive(batch: int, length: int, width: int, negatives: int, dtype: str = "fp32", **options: Any) -> Case:
    shape = {"batch": batch, "length": length, "width": width, "negatives": negatives}
    return Case(
        op="wav2vec2_contrastive",
        size=f"{batch}x{length}x{width}, {negatives} distractors",
        dtype=dtype,
        mode="forward+backward",
        make_inputs=partial(make_frames, **shape, dtype=DTYPES[dtype]),
        providers=options.pop("providers", PROVIDERS),
        check=check,
        work=6 * 0.49 * batch * length * (negatives + 1) * width,
        unit="FLOP",
        formula="6 M (K + 1) D, M of 49 % masked",
        **options,
    )


ITEM_PROVIDERS = {
    "sslfast": partial(call, drawn_items),
    "eager torch (gathers the items)": partial(call, gathered_items),
    "sslfast (all items)": partial(call, all_items),
}


def sampled_items(batch: int, length: int, width: int, items: int, **options: Any) -> Case:
    shape = {"batch": batch, "length": length, "width": width, "items": items}
    return Case(
        op="masked_item",
        size=f"{batch}x{length}x{width}, {NEGATIVES} of {items}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_items, **shape),
        providers=ITEM_PROVIDERS,
        check=check_items,
        work=6 * 0.2 * batch * length * (NEGATIVES + 1) * width,
        unit="FLOP",
        formula="6 M (K + 1) D, M of 20 % masked",
        **options,
    )


ALL_ITEMS_PROVIDERS = {
    "sslfast": partial(call, all_items),
    "eager torch (RecBole's formulation)": partial(call, recbole_items),
}


def every_item(batch: int, length: int, width: int, items: int, **options: Any) -> Case:
    drawn = sampled_items(batch, length, width, items, **options)
    return replace(
        drawn,
        size=f"{batch}x{length}x{width} of {items}",
        make_inputs=partial(make_histories, batch=batch, length=length, width=width, items=items),
        providers=ALL_ITEMS_PROVIDERS,
        check=check_all_items,
        work=6 * 0.2 * batch * length * items * width,
        formula="6 M V D, M of 20 % masked",
    )


def cases() -> list[Case]:
    return [
        every_item(64, 50, 64, 3000, devices=("cpu",)),
        sampled_items(64, 50, 64, 20000, quick=True),
        sampled_items(128, 50, 128, 20000, memory=True),
        contrastive(2, 100, 64, 20, quick=True),
        contrastive(4, 500, 256, 100, memory=True, devices=("cpu",)),
        contrastive(4, 500, 256, 100, "bf16", devices=("cpu",)),
        contrastive(8, 1500, 256, 100, "bf16", memory=True, devices=("cuda",), providers=GPU_PROVIDERS),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
