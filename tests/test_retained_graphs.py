"""A retained graph gives the same gradients again; a second backward through one that is not raises torch's own error.

Losses that test_loss_regimes.py has no case of, and those with labels, of more rows than test_few_rows.py takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from sslfast import losses
from sslfast.losses import _few_rows

MANY = _few_rows.MOST_ROWS + 248  # more than one strip of distances, too

Loss = Callable[..., Tensor]
Case = tuple[Loss, tuple[int, int, int]]  # of views, and how many of which shape

contrastive = partial(losses.contrastive_loss, pos_margin=0.1, neg_margin=1.2)
multi_positive = partial(losses.multi_positive_nt_xent_loss, temperature=0.2)
triplet = partial(losses.triplet_loss, margin=0.3)


def of_classes(loss: Loss, classes: int) -> Case:
    return lambda z: loss(z, torch.arange(MANY) % classes), (1, MANY, 5)


def of_references(loss: Loss) -> Case:
    labels = torch.arange(MANY) % 90
    return lambda z, r: loss(z, labels, ref_emb=r, ref_labels=labels.flip(0)), (2, MANY, 5)


def of_given(loss: Loss) -> Case:
    """Of listed triplets, which the losses of pairs take as positive and negative pairs."""
    anchors = torch.arange(MANY)
    triplets = (anchors, (anchors + 1) % MANY, (anchors + 7) % MANY)
    return lambda z: loss(z, None, indices_tuple=triplets), (1, MANY, 5)


def swav(*scores: Tensor, large: int, queued: int = 0) -> Tensor:
    """Of large crops, of small ones, and of earlier samples, in this order."""
    crops = len(scores) - queued
    return losses.SwAVLoss()(scores[:large], scores[large:crops], [z.detach() for z in scores[crops:]] or None)


def prefixes_of_classes(z: Tensor) -> Tensor:
    return losses.MatryoshkaLoss(losses.ContrastiveLoss(), (3, 8))(z, torch.arange(len(z)) % 4)


def of_hard_negatives(loss: Loss) -> Case:
    """Three of each row."""
    return lambda a, b, *hard: loss(a, b, negative_keys=torch.stack(hard, dim=1)), (5, 12, 5)


CASES: dict[str, Case] = {
    "barlow twins": (losses.BarlowTwinsLoss(0.1), (2, 12, 5)),
    "barlow twins, wide": (losses.BarlowTwinsLoss(0.1), (2, 6, 20)),
    "vicreg": (losses.VICRegLoss(), (2, 12, 5)),
    "vicreg, wide": (losses.VICRegLoss(), (2, 6, 20)),
    "cosine": (losses.NegativeCosineSimilarity(), (2, 12, 5)),
    "alignment": (partial(losses.alignment_loss, normalize=True), (2, 12, 5)),
    "alignment, cubes": (partial(losses.alignment_loss, alpha=3), (2, 12, 5)),
    "uniformity": (losses.uniformity_loss, (1, 12, 5)),
    "uniformity, blocks": (partial(losses.uniformity_loss, normalize=True), (1, 300, 5)),
    "hypersphere": (losses.HypersphereLoss(), (2, 12, 5)),
    "koleo": (losses.KoLeoLoss(), (1, 12, 5)),
    "koleo, many": (losses.KoLeoLoss(), (1, MANY, 5)),
    "koleo, cubes": (losses.KoLeoLoss(p=3), (1, 12, 5)),
    "swav": (partial(swav, large=2), (3, 12, 6)),
    "swav, one large crop": (partial(swav, large=1), (3, 12, 6)),
    "swav, queue": (partial(swav, large=2, queued=2), (5, 12, 6)),
    "info_nce, hard negatives": of_hard_negatives(losses.info_nce_loss),
    "clip, hard negatives": of_hard_negatives(partial(losses.clip_loss, logit_scale=2.0, margin=0.1)),
    "siglip, hard negatives": of_hard_negatives(partial(losses.siglip_loss, logit_scale=2.0, margin=0.1)),
    "contrastive, few classes": of_classes(contrastive, 3),
    "contrastive, many classes": of_classes(contrastive, 190),
    "contrastive, references": of_references(contrastive),
    "contrastive, given": of_given(contrastive),
    "multi-positive, few classes": of_classes(multi_positive, 3),
    "multi-positive, many classes": of_classes(multi_positive, 190),
    "multi-positive, references": of_references(multi_positive),
    "multi-positive, given": of_given(multi_positive),
    "triplet": of_classes(triplet, 3),
    "triplet, hardest": of_classes(partial(triplet, mining="batch_hard"), 3),
    "triplet, semi-hard": of_classes(partial(triplet, mining="semi_hard"), 190),
    "triplet, swap": of_classes(partial(triplet, swap=True), 190),
    "triplet, soft margin": of_classes(partial(triplet, smooth_loss=True), 190),
    "triplet, drawn": of_classes(partial(triplet, triplets_per_anchor=3, generator=5), 3),
    "triplet, references": of_references(triplet),
    "triplet, given": of_given(triplet),
    "matryoshka": (losses.MatryoshkaLoss(losses.NTXentLoss(0.3), (3, 8), (1.0, 0.5)), (2, 12, 8)),
    "matryoshka, classes": (prefixes_of_classes, (1, 12, 8)),
}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_a_retained_graph_gives_its_gradients_again(name: str, dtype: torch.dtype) -> None:
    loss, shape = CASES[name]
    leaves = [z.requires_grad_() for z in torch.randn(shape).to(dtype).unbind()]
    expected = torch.autograd.grad(loss(*leaves), leaves, allow_unused=True)
    learning, expected = zip(*((z, g) for z, g in zip(leaves, expected, strict=True) if g is not None), strict=True)
    assert all(grad.any() for grad in expected)
    value = loss(*leaves)
    for factor in (1.0, 1.0, -3.0):
        found = torch.autograd.grad(value, learning, value.new_tensor(factor), retain_graph=True)
        assert_near(found, [factor * grad for grad in expected])
        for grad in found:
            grad.zero_()  # what is given away is not kept
    value.backward()
    assert_near([z.grad for z in learning], expected)
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        value.backward()


def assert_near(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for grad, truth in zip(found, expected, strict=True):
        tolerance = TOLERANCE[truth.dtype]
        torch.testing.assert_close(grad, truth, rtol=tolerance, atol=tolerance * float(truth.abs().max()))
