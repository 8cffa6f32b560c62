"""batch_mix: torchvision's and timm's images and targets, and their arguments."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from peer_oracle import peer

from sslfast.augment import CutMix, MixUp, RandomMix


def test_equals_torchvision(device):
    v2 = peer("torchvision.transforms.v2")
    labels = torch.randint(0, 10, (6,))
    for dtype in (torch.float32, torch.float64):
        images = torch.randn(6, 3, 12, 17, dtype=dtype)
        for ours, theirs in ((MixUp, v2.MixUp), (CutMix, v2.CutMix)):
            transform = ours(num_classes=10)
            there = images.to(device)
            mixed, targets, params = transform(there, labels.to(device), generator=3, return_params=True)
            _, _, lam, top, left, height, width = (float(number) for number in params[0])
            box = {"box": tuple(map(int, (left, top, left + width, top + height))), "lam_adjusted": lam}
            known = {"lam": lam, "labels": labels, "batch_size": 6} | (box if ours is CutMix else {})
            expected = theirs(num_classes=10)
            assert torch.equal(mixed.cpu(), expected.transform(images, known))
            assert torch.allclose(targets.cpu(), expected.transform(labels, known), rtol=0, atol=1e-7)


def test_bytes_as_torchvision(device):
    """Boxes of bytes, exactly; blends of them torchvision refuses."""
    v2 = peer("torchvision.transforms.v2")
    images, labels = torch.randint(0, 256, (6, 3, 12, 17), dtype=torch.uint8), torch.arange(6)
    mixed, _, params = CutMix(num_classes=10)(images.to(device), labels.to(device), generator=3, return_params=True)
    _, _, lam, top, left, height, width = (float(number) for number in params[0])
    box = tuple(map(int, (left, top, left + width, top + height)))
    known = {"lam": lam, "labels": labels, "batch_size": 6, "box": box, "lam_adjusted": lam}
    assert torch.equal(mixed.cpu(), v2.CutMix(num_classes=10).transform(images, known))
    with pytest.raises(RuntimeError, match="Byte"):
        v2.MixUp(num_classes=10).transform(images, known)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0)])
def test_equals_timm(device, mode, alphas, monkeypatch):
    mixup = peer("timm.data.mixup")
    images, labels = torch.randn(6, 3, 20, 20), torch.randint(0, 10, (6,))
    ours = RandomMix(*alphas, mode=mode, num_classes=10)
    mixed, targets, params = ours(images.to(device), labels.to(device), generator=3, return_params=True)
    lams, boxes = params[:, 2].cpu().numpy(), params[:, 3:].long().tolist()
    drawn = iter([([top, top + high, left, left + wide], lam) for (top, left, high, wide), lam in zip(boxes, lams)])  # noqa: B905
    theirs = mixup.Mixup(*alphas, mode=mode, num_classes=10)
    monkeypatch.setattr(mixup, "cutmix_bbox_and_lam", lambda *args, **options: next(drawn))
    boxed = alphas[1] > 0
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (float(lams[0]), boxed))
    monkeypatch.setattr(theirs, "_params_per_elem", lambda n: (lams[:n].copy(), np.full(n, boxed)))
    expected, soft = theirs(images.clone(), labels)
    assert torch.allclose(mixed.cpu(), expected, rtol=0, atol=1e-6)
    assert torch.allclose(targets.cpu(), soft, rtol=0, atol=1e-6)


def test_arguments_are_the_peers():
    v2, mixup = peer("torchvision.transforms.v2"), peer("timm.data.mixup")
    for ours, theirs in ((MixUp, v2.MixUp), (CutMix, v2.CutMix), (RandomMix, mixup.Mixup)):
        mine, others = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        same = {n: (p.kind, p.default) for n, p in others.items() if n not in ("labels_getter", "multi_label")}
        assert {n: (mine[n].kind, mine[n].default) for n in same} == same
