"""What docs/losses.md says of the losses, held against them: which has which argument."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path

import torch

from sslfast import losses
from sslfast.losses import AdversarialPerturbation, DINOLoss, dino_loss

PAGE = (Path(__file__).parents[1] / "docs/losses.md").read_text()


def test_the_table_of_arguments() -> None:
    head, *rows = re.search(r"Not every loss has all of them:\n\n((?:\|.*\n)+)", PAGE)[1].splitlines()
    names = re.findall(r"`(\w+)`", head)
    assert names == ["label_smoothing", "softcap", "z_loss", "return_metrics", "num_items"]
    seen = []
    for row in rows[1:]:
        functions, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for function in re.findall(r"`(\w+)`", functions):
            has = inspect.signature(getattr(losses, function)).parameters
            assert [name in has for name in names] == [cell != "no" for cell in cells], function
            seen.append(function)
    having = {n for n in losses.__all__ if "num_items" in inspect.signature(getattr(losses, n)).parameters}
    assert set(seen) == having - {"item_sampling"}


X = torch.randn(4, 3)


def test_an_attack_moves_the_state_of_a_loss_but_not_of_its_function() -> None:
    attack, criterion = AdversarialPerturbation(0.1, steps=2), DINOLoss(3)
    teacher = [torch.randn(4, 3)]
    before = criterion.center.clone()
    at_function = attack(lambda x: dino_loss(teacher, [x, x], criterion.center), X)
    twin = copy.deepcopy(criterion)
    attack(lambda x: twin(teacher, [x, x]), X)
    assert torch.equal(criterion.center, before)
    assert not torch.equal(twin.center, before)
    first = AdversarialPerturbation(0.1)
    expected = first(lambda x: dino_loss(teacher, [x, x]), X)
    torch.testing.assert_close(first(lambda x: criterion(teacher, [x, x]), X), expected)
    assert at_function.shape == X.shape
