"""Ids, a margin and label smoothing of few_pairs' sigmoid losses: the operator against the definition, and siglip_loss
of small batches, which is made of it, against its tiles. tests/test_siglip_options.py has the loss's own definition.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor

from sslfast import ops
from sslfast.losses import _few_pairs, siglip_loss
from sslfast.losses._few_pairs import SIGMOID, Options
from sslfast.reference.few_pairs import few_pairs as reference

TOGETHER = [
    ("smoothing",),
    ("margin",),
    ("ids",),
    ("margin", "ids"),
    ("smoothing", "margin"),
    ("smoothing", "margin", "ids"),
]
each_together = pytest.mark.parametrize("names", TOGETHER, ids=" ".join)


def given_options(names: tuple[str, ...], size: int) -> Options:
    rows = torch.arange(size)
    return Options(
        smoothing=0.3 if "smoothing" in names else 0.0,
        margin=-0.05 if "margin" in names else None,
        row_ids=rows % 5 if "ids" in names else None,
        col_ids=rows % 7 if "ids" in names else None,
    )


@each_together
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "width", "scale"), [(1, 5, 2.0), (3, 2, -4.0), (65, 33, 10.0), (40, 16, 200.0)])
def test_against_the_definition(
    names: tuple[str, ...], normalize: bool, dtype: torch.dtype, size: int, width: int, scale: float
) -> None:
    rows, columns = close_pairs(size, width, dtype)
    bias, share, options = -0.3 * abs(scale), 0.7 / size, given_options(names, size)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def by_definition(to: torch.dtype) -> list[Tensor]:
        leaves = [rows.to(to), columns.to(to), *(torch.tensor(x, dtype=to) for x in (scale, bias))]
        return with_grads(lambda a, b, s, t: reference(a, b, s, t, SIGMOID, share, normalize, *options), *leaves)

    truth, same = by_definition(torch.float64), by_definition(wide)
    numbers = [torch.tensor(x, dtype=wide) for x in (scale, bias)]
    norms = 1.0 if normalize else max(z.double().norm(dim=1).max().item() for z in (rows, columns)) ** 2
    reach = 16 * torch.finfo(wide).eps * max(abs(scale) * norms, 10)
    for needs in ((True, True, True, True), (True, False, False, True), (False, True, True, False), (False,) * 4):
        found = ops.few_pairs(rows, columns, *numbers, 0.0, 0.0, SIGMOID, share, normalize, *needs, *options)
        expected = [(s, t) for s, t, want in zip(same, truth, (True, *needs), strict=True) if want]
        for f, (s, t) in zip(found, expected, strict=True):
            largest = t.abs().amax(dim=1, keepdim=True) if t.dim() == 2 else t.abs()
            assert_no_worse(f, s, t, reach * torch.maximum(largest, t.abs().max() * 0.1) + 4e-37)


@each_together
def test_opcheck(names: tuple[str, ...]) -> None:
    sides, numbers = close_pairs(6, 4, torch.float32), (torch.tensor(3.0), torch.tensor([-1.0]))
    needs = (True, True, True, True)
    arguments = (*sides, *numbers, 0.0, 0.0, SIGMOID, 0.2, True, *needs, *given_options(names, 6))
    torch.library.opcheck(ops.few_pairs, arguments)


def keywords(options: Options) -> dict[str, object]:
    """The options as siglip_loss has them."""
    ids = {} if options.row_ids is None else {"image_ids": options.row_ids, "text_ids": options.col_ids}
    return {"label_smoothing": options.smoothing, "margin": options.margin} | ids


@each_together
@pytest.mark.parametrize("hard", [False, True])
def test_siglip_is_one_operator_and_the_same_in_tiles(
    names: tuple[str, ...], hard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides, options = close_pairs(30, 6, torch.float64), keywords(given_options(names, 30))
    numbers = [torch.tensor(x, dtype=torch.float64) for x in (9.0, -4.0)]
    keys = [torch.randn(30, 2, 6, dtype=torch.float64)] if hard else []

    def loss(a: Tensor, b: Tensor, s: Tensor, t: Tensor, *negatives: Tensor) -> Tensor:
        further = {"negative_keys": negatives[0]} if negatives else {}
        return siglip_loss(a, b, s, t, normalize=True, **options, **further)

    with Operators() as ran:
        found = with_grads(loss, *sides, *numbers, *keys)
    assert "few_pairs" in ran.names
    assert hard or len(ran.names) == 1
    monkeypatch.setattr(_few_pairs, "_MOST", 0)
    with Operators() as ran:
        expected = with_grads(loss, *sides, *numbers, *keys)
    assert "few_pairs" not in ran.names
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("scale", [5.0, 0.0, -5.0])
def test_a_text_as_near_as_the_own_is_within_a_margin_of_0(scale: float) -> None:
    """Of any scale: its similarity comes from another product than the own text's, and may be above it by rounding."""
    images, texts = (F.normalize(z, dim=1) for z in close_pairs(64, 96, torch.float32))
    texts[1::2] = texts[::2]
    exact = reference(images.double(), texts.double(), scale, -1.0, SIGMOID, 1 / 64, False, margin=1e-9)
    found = siglip_loss(images, texts, scale, -1.0, margin=0.0)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


def test_smoothing_and_a_margin_by_hand() -> None:
    """Two images alike: the text of the second is nearer to both, and of the first the margin leaves it out."""
    images, texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])
    logit = {0.5: 2.0 * 0.5 - 1.0, 1.0: 2.0 * 1.0 - 1.0}  # by similarity
    own = [math.log1p(math.exp(-z)) + 0.1 * z for z in (logit[0.5], logit[1.0])]
    other = math.log1p(math.exp(logit[0.5])) - 0.1 * logit[0.5]
    found = siglip_loss(images, texts, 2.0, -1.0, margin=0.25, label_smoothing=0.2)
    torch.testing.assert_close(found.item(), (sum(own) + other) / 2)


def test_sides_without_a_gradient_may_change_before_backward() -> None:
    images, texts = (z.requires_grad_() for z in close_pairs(8, 5, torch.float32))
    options = keywords(given_options(("smoothing", "margin", "ids"), 8))
    (expected,) = torch.autograd.grad(siglip_loss(images, texts, 3.0, normalize=True, **options), images)
    locked = texts.detach().clone()
    loss = siglip_loss(images, locked, 3.0, normalize=True, **options)
    locked.zero_()
    options["image_ids"].zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, images)[0], expected)
