"""Labels, ids, positives and copies of the losses: any integer dtype, any strides."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from loss_oracle import with_grads
from torch import Tensor

from sslfast import losses

N, M, D = 12, 17, 5
LABELS, REF_LABELS = torch.arange(N) * 5 % 4, torch.arange(M) % 5
ORDER = torch.arange(N) * 7 % N
OF_REFERENCES = {"ref_labels": REF_LABELS, "copies": torch.arange(N) - 1}
LABELLED = {
    "supcon_loss": losses.supcon_loss,
    "multi_positive_nt_xent_loss": losses.multi_positive_nt_xent_loss,
    "triplet_loss": losses.triplet_loss,
    "contrastive_loss": losses.contrastive_loss,
}
CASES = {
    **{name: (loss, {"labels": LABELS}) for name, loss in LABELLED.items()},
    **{
        f"{name}, references": (
            lambda z, r, loss=loss, **integers: loss(z, ref_emb=r, **integers),
            {"labels": LABELS, **OF_REFERENCES},
        )
        for name, loss in LABELLED.items()
    },
    "info_nce_loss, positives": (losses.info_nce_loss, {"positives": ORDER}),
    "info_nce_loss, positives among more": (losses.info_nce_loss, {"positives": ORDER + 5}),
    "info_nce_loss, ids": (losses.info_nce_loss, {"query_ids": LABELS, "key_ids": LABELS}),
    "clip_loss, ids": (partial(losses.clip_loss, logit_scale=8.0), {"image_ids": LABELS, "text_ids": LABELS}),
    "siglip_loss, ids": (partial(losses.siglip_loss, logit_scale=8.0), {"image_ids": LABELS, "text_ids": LABELS}),
    "info_nce_loss, all": (
        lambda z, r, **integers: losses.info_nce_loss(z, r, query_negatives=True, key_negatives=True, **integers),
        {"positives": ORDER, "query_ids": LABELS, "key_ids": REF_LABELS},
    ),
}


def inputs_of(name: str, device: torch.device) -> list[Tensor]:
    rows = torch.randn(N, D, device=device)
    more = torch.randn(M, D, device=device)
    return [rows] if name in LABELLED else [rows, more[:N] if name.endswith((" positives", " ids")) else more]


@pytest.mark.parametrize("grads", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_any_strides(name: str, grads: bool, device: torch.device) -> None:
    loss, integers = CASES[name]
    z, *others = inputs_of(name, device)
    if not grads:  # the way of what takes none: a memory, a queue
        loss, inputs = (lambda z, loss=loss, **integers: loss(z, *others, **integers)), [z]
    else:
        inputs = [z, *others]
    integers = {key: t.to(device) for key, t in integers.items()}
    packed = with_grads(lambda *z: loss(*z, **integers), *inputs)
    strided = {key: torch.stack([t, 1 - t], dim=1)[:, 0] for key, t in integers.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_grads(lambda *z: loss(*z, **strided), *inputs)
    for a, b in zip(found, packed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_any_integer_dtype(name: str, dtype: torch.dtype, device: torch.device) -> None:
    loss, integers = CASES[name]
    inputs = inputs_of(name, device)
    integers = {key: t.to(device) for key, t in integers.items()}
    packed = with_grads(lambda *z: loss(*z, **integers), *inputs)
    narrow = {key: t if key == "copies" else t.to(dtype) for key, t in integers.items()}
    for a, b in zip(with_grads(lambda *z: loss(*z, **narrow), *inputs), packed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64], ids=str)
@pytest.mark.parametrize("name", LABELLED)
def test_wide_unsigned_labels(name: str, dtype: torch.dtype, device: torch.device) -> None:
    z, labels = torch.randn(N, D, device=device), LABELS.to(device, dtype)
    expected = rf"^{name}: labels must be a signed integer or uint8 tensor, got {dtype}$"
    with pytest.raises(TypeError, match=expected):
        LABELLED[name](z, labels)
