"""Triplets in blocks, those with a swap or a soft margin: how many blocks there are, and where a graph breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracle import with_grads
from torch import Tensor

from sslfast.losses import _triplet_blocks, triplet_loss
from sslfast.losses._labels import LabelGroups

TERMS = {"swap": True}, {"smooth_loss": True}
GROUP = 4


@pytest.mark.parametrize("terms", TERMS, ids=str)
@pytest.mark.parametrize("references", [False, True])
def test_as_many_blocks_as_the_largest_group_has_rows(
    terms: dict[str, bool], references: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where numbers are not read strip by strip, as on a GPU: the size of the largest group is."""
    count = 0
    original = _triplet_blocks.BlockTerms

    def counted(*args: Any) -> _triplet_blocks.BlockTerms:
        nonlocal count
        count += 1
        return original(*args)

    monkeypatch.setattr(_triplet_blocks, "BlockTerms", counted)
    monkeypatch.setattr("sslfast.losses._strips._HELD", 20 * 60)  # three strips of 20 rows, blocks of one positive
    monkeypatch.setattr("sslfast.losses._strips._HELD_GPU", 20 * 60)
    z, y = torch.randn(60, 5, device=device), torch.arange(60, device=device) % (60 // GROUP)
    others = {"ref_emb": z + 0.1 * torch.randn_like(z), "ref_labels": y} if references else {}

    def loss(z: Tensor) -> Tensor:
        return triplet_loss(z, y, 0.4, **others, **terms)

    strip_by_strip = with_grads(loss, z)
    assert count == 3 * GROUP
    monkeypatch.setattr(LabelGroups, "readable", lambda _: False)
    count = 0
    for found, expected in zip(with_grads(loss, z), strip_by_strip, strict=True):
        torch.testing.assert_close(found, expected)
    assert count == 3 * GROUP


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_a_compiled_graph_breaks_there(terms: dict[str, bool]) -> None:
    torch.compiler.reset()
    z, y = torch.randn(40, 5), torch.arange(40) % 10

    def loss(z: Tensor) -> Tensor:
        return 2 * triplet_loss(2 * z, y, 0.4, **terms)

    compiled = torch.compile(loss, backend="aot_eager")
    for found, expected in zip(with_grads(compiled, z), with_grads(loss, z), strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="size of the largest group of labels"):
        torch.compile(loss, fullgraph=True, backend="aot_eager")(z)
