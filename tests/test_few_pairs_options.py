"""The options of few_pairs, label smoothing, a margin, debiasing, weights, keys by index and ids: the operator against
the definition, and info_nce_loss and clip_loss of small batches, which are made of it, against theirs.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import N, tensors, with_grads
from loss_oracle import assert_like_reference
from loss_oracle import with_grads as loss_with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor

from sslfast import ops
from sslfast.losses import _few_pairs, clip_loss, info_nce_loss
from sslfast.losses._few_pairs import ROWS, SIGMOID, TWO_WAYS, Options
from sslfast.reference.few_pairs import few_pairs as reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
# By kind what goes together.
TOGETHER = [
    (ROWS, ("smoothing",)),
    (ROWS, ("margin",)),
    (ROWS, ("factors",)),
    (ROWS, ("positives",)),
    (ROWS, ("ids",)),
    (ROWS, ("tau_plus",)),
    (ROWS, ("smoothing", "ids")),
    (ROWS, ("smoothing", "tau_plus", "factors", "positives")),
    (ROWS, ("smoothing", "margin", "factors", "positives", "ids")),
    (ROWS, ("margin", "factors", "positives", "ids")),
    (ROWS, ("margin", "tau_plus", "ids")),
    (TWO_WAYS, ("smoothing",)),
    (TWO_WAYS, ("factors",)),
    (TWO_WAYS, ("ids",)),
    (TWO_WAYS, ("tau_plus",)),
    (TWO_WAYS, ("smoothing", "factors")),
    (TWO_WAYS, ("smoothing", "tau_plus")),
    (TWO_WAYS, ("factors", "ids")),
    (TWO_WAYS, ("margin",)),
    (TWO_WAYS, ("margin", "tau_plus", "ids")),
    (TWO_WAYS, ("further",)),
    (TWO_WAYS, ("further", "tau_plus", "factors")),
    (TWO_WAYS, ("smoothing", "further")),
    (TWO_WAYS, ("smoothing", "margin", "ids", "further")),
    (TWO_WAYS, ("smoothing", "ids")),
    (TWO_WAYS, ("smoothing", "margin", "factors", "ids")),
]


def given_options(names: tuple[str, ...], rows: int, columns: int, dtype: torch.dtype) -> Options:
    every = {
        "smoothing": 0.3,
        "margin": 0.05,
        "tau_plus": 0.03,
        "factors": torch.rand(rows, dtype=dtype).index_fill_(0, torch.tensor([0]), 0.0),
        "positives": torch.randint(0, columns, (rows,)),
        "row_ids": torch.arange(rows) % 5,
        "col_ids": torch.arange(columns) % 5,
    }
    wanted = {*names, *(("row_ids", "col_ids") if "ids" in names else ())}
    return Options(**{name: value for name, value in every.items() if name in wanted})


def wide(options: Options) -> Options:
    return options._replace(factors=None if options.factors is None else options.factors.double())


@pytest.mark.parametrize(("kind", "names"), TOGETHER)
@pytest.mark.parametrize("normalize", [True, False])
@DTYPES
@pytest.mark.parametrize(("size", "width", "scale"), [(3, 2, 4.0), (65, 33, 10.0), (40, 16, 200.0)])
def test_against_the_definition(
    kind: int, names: tuple[str, ...], normalize: bool, dtype: torch.dtype, size: int, width: int, scale: float
):
    rows, columns = close_pairs(size, width, dtype)
    if {"positives", "further"} & {*names}:  # as many columns as there may be
        columns = torch.cat([columns, torch.randn(7, width).to(dtype)])
    if "tau_plus" in names:  # of unit rows; the definition has exponentials
        rows, columns, scale = F.normalize(rows, dim=1), F.normalize(columns, dim=1), min(scale, 10.0)
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    options = given_options(names, size, len(columns), sums)
    share = 0.7 / size

    def by_definition(to: torch.dtype) -> list[Tensor]:
        chosen = wide(options) if to == torch.float64 else options
        leaves = [rows.to(to), columns.to(to), torch.tensor(scale, dtype=to)]
        return loss_with_grads(lambda a, b, s: reference(a, b, s, 0.0, kind, share, normalize, *chosen), *leaves)

    truth, same = by_definition(torch.float64), by_definition(sums)
    norms = 1.0 if normalize else max(z.double().norm(dim=1).max().item() for z in (rows, columns)) ** 2
    reach = 16 * torch.finfo(sums).eps * max(scale * norms, 10)
    for needs in ((True, True, True), (True, False, False), (False, True, True), (False, False, False)):
        found = ops.few_pairs(
            rows,
            columns,
            torch.tensor(scale, dtype=sums),
            None,
            0.0,
            0.0,
            kind,
            share,
            normalize,
            *needs,
            False,
            *options,
        )
        expected = [(s, t) for s, t, want in zip(same, truth, (True, *needs), strict=True) if want]
        for f, (s, t) in zip(found, expected, strict=True):
            # Smoothing takes terms off the scale's gradient that nearly cancel it.
            largest = t.abs().amax(dim=1, keepdim=True) if t.dim() == 2 else t.abs().clamp_min(0.01)
            assert_no_worse(f, s, t, reach * torch.maximum(largest, t.abs().max() * 0.1) + 4e-37)


@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smoothing_late_in_training(smoothing: float, symmetric: bool, dtype: torch.dtype) -> None:
    """Pairs so near that smoothing is nearly all of the gradient."""
    rows = F.normalize(torch.randn(24, 16, dtype=torch.float64), dim=1)
    sides = [rows.to(dtype), (rows + 1e-3 * torch.randn(24, 16)).to(dtype)]
    kind, share = (TWO_WAYS, 0.5 / 24) if symmetric else (ROWS, 1 / 24)

    def definition(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return reference(a, b, 1 / t, 0.0, kind, share, True, smoothing)

    def ours(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return info_nce_loss(a, b, temperature=t, symmetric=symmetric, label_smoothing=smoothing)

    with Operators() as ran:
        assert_like_reference(ours, definition, [*sides, torch.tensor(0.05, dtype=dtype)], factor=64)
    assert ran.names == ["few_pairs"]


@pytest.mark.parametrize("loss", [clip_loss, info_nce_loss])
def test_debiased_pairs_that_are_not_finite(loss) -> None:
    rows, columns = torch.eye(4), torch.full((4, 4), 0.5)
    for bad in (torch.nan, torch.inf):
        rows[1, 1] = bad
        with Operators() as ran:
            assert loss(rows, columns, **({"logit_scale": 5.0} if loss is clip_loss else {}), tau_plus=0.1).isnan()
        assert ran.names == ["few_pairs"]


def test_debiased_clip_is_the_same_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [F.normalize(z, dim=1) for z in close_pairs(20, 6, torch.float64)]

    def loss(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return clip_loss(a, b, s, label_smoothing=0.1, tau_plus=0.04)

    for scale in (3.0, -3.0, 80.0):
        inputs = (*sides, torch.tensor(scale, dtype=torch.float64))
        found = loss_with_grads(loss, *inputs)
        with monkeypatch.context() as patch:
            patch.setattr(_few_pairs, "_MOST", 0)
            expected = loss_with_grads(loss, *inputs)
        for f, g in zip(found, expected, strict=True):
            torch.testing.assert_close(f, g, rtol=1e-9, atol=1e-12)


def test_smoothing_among_one_is_none() -> None:
    row, column = torch.randn(2, 1, 7)
    for symmetric in (False, True):
        found = loss_with_grads(
            lambda a, b, s=symmetric: info_nce_loss(a, b, label_smoothing=0.4, symmetric=s), row, column
        )
        assert all(torch.equal(z, torch.zeros_like(z)) for z in found)


@pytest.mark.parametrize("normalize", [True, False])
@DTYPES
def test_clip_with_smoothing(normalize: bool, dtype: torch.dtype) -> None:
    images, texts = close_pairs(33, 12, dtype)
    scale, bias = torch.tensor([4.0], dtype=dtype), torch.tensor(-3.0)

    def ours(a: Tensor, b: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return clip_loss(a, b, s, t, normalize=normalize, label_smoothing=0.2)

    with Operators() as ran:
        found = loss_with_grads(ours, images, texts, scale, bias)
    assert ran.names == ["few_pairs"]
    assert [z.dtype for z in found[1:]] == [dtype, dtype, dtype, torch.float32]
    assert found[4] == 0.0

    def plain(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        a, b = (F.normalize(a, dim=1), F.normalize(b, dim=1)) if normalize else (a, b)
        logits, own = s * a @ b.T, torch.arange(33)
        return sum(F.cross_entropy(z, own, label_smoothing=0.2) for z in (logits, logits.T)) / 2

    exact = loss_with_grads(plain, images.double(), texts.double(), scale.double())
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, torch.finfo(dtype).eps)
    for f, t in zip(found[:4], exact, strict=False):
        torch.testing.assert_close(f.double(), t, rtol=tolerance, atol=tolerance * float(t.abs().max()))


ONE_CALL = [
    "the other keys",
    "keys by index",
    "both ways",
    "given negatives and the other keys",
    "ids both ways",
    "a margin",
    "a margin and ids both ways",
    "smooth, given negatives and a margin",
    "smooth, given negatives, ids and a margin both ways",
    "given negatives both ways",
    "smooth",
    "smooth, keys by index",
    "debiased, turned round",
    "debiased both ways",
    "debiased down to the least",
    "smooth, debiased both ways",
]
TILES = [
    "both ways by index",
    "given negatives",
    "ids",
    "smooth, a margin both ways",
    "debiased",
]


def a_mean(case: str, weights: Tensor | None, reduction: str = "mean"):
    """The loss of a case, and its definition."""

    def ours(*args: Any, **options: Any) -> Tensor:
        return info_nce_loss(*args, reduction=reduction, weights=weights, **options)

    def definition(*args: Any, **options: Any) -> Tensor:
        losses = info_nce_reference(*args, **options)
        numbers = torch.ones_like(losses) if weights is None else weights.to(losses)
        return (losses * numbers).sum() / (numbers.sum() if reduction == "mean" else 1)

    return ours, definition


@pytest.mark.parametrize("case", ONE_CALL)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_info_nce_in_one_call(case: str, weighted: bool, reduction: str, dtype: torch.dtype) -> None:
    given, one = tensors(dtype), torch.ones(())
    exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
    ours, definition = a_mean(case, torch.rand(N, dtype=torch.float16) if weighted else None, reduction)
    with Operators() as ran:
        found = with_grads(ours, given, case, one)
    assert ran.names == ["few_pairs"]
    truth, same = with_grads(definition, exact, case, one), with_grads(definition, given, case, one)
    for f, s, t in zip(found, same, truth, strict=True):
        assert_no_worse(f, s, t, 128 * torch.finfo(f.dtype).eps * max(1.0, float(t.abs().max())))


@pytest.mark.parametrize("case", ONE_CALL)
def test_the_same_in_tiles(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, one = tensors(), torch.ones(())
    ours, _ = a_mean(case, torch.rand(N))
    found = with_grads(ours, given, case, one)
    monkeypatch.setattr(_few_pairs, "_MOST", 0)
    with Operators() as ran:
        expected = with_grads(ours, given, case, one)
    assert "few_pairs" not in ran.names
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("case", TILES)
def test_what_the_operator_does_not_take_together(case: str) -> None:
    with Operators() as ran:
        with_grads(a_mean(case, None)[0], tensors(), case, torch.ones(()))
    assert ran.names
    assert "few_pairs" not in ran.names


def test_further_keys_count_among_the_few(monkeypatch: pytest.MonkeyPatch) -> None:
    query, keys, others = torch.randn(6, 4), torch.randn(6, 4), torch.randn(20, 4)
    for most, expected in ((9, True), (8, False)):  # 6 x 26 logits
        monkeypatch.setattr(_few_pairs, "_MOST", most)
        with Operators() as ran:
            info_nce_loss(query, keys, others, in_batch=True)
        assert (ran.names == ["few_pairs"]) == expected
    with Operators() as ran:  # of a wider type: the queries' own products stay what they are
        assert info_nce_loss(query, keys, others.double(), in_batch=True).dtype == torch.float32
    assert "few_pairs" not in ran.names


@pytest.mark.parametrize("most", [0, 256])
def test_weights_that_make_no_mean(monkeypatch, most: int) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    query, keys = torch.randn(2, 4, 3)
    for weights in (torch.zeros(4), torch.tensor([1.0, torch.nan, 1.0, 1.0]), torch.tensor([1.0, torch.inf, 1.0, 1.0])):
        assert info_nce_loss(query, keys, weights=weights).isnan()
    assert info_nce_loss(query, keys, weights=torch.zeros(4), reduction="sum") == 0.0


def test_gradients_are_multiplied_and_kept() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(8, 5, torch.float32))
    options = {"label_smoothing": 0.2, "weights": torch.rand(8)}
    loss = info_nce_loss(query, keys, **options)
    plain = torch.autograd.grad(loss, (query, keys), retain_graph=True)
    again = torch.autograd.grad(3 * loss, (query, keys), retain_graph=True)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(3 * a, b)
    (first,) = torch.autograd.grad(loss, query, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss"):
        first.sum().backward()
    locked = keys.detach().clone()
    loss = info_nce_loss(query, locked, **options)
    locked.zero_()
    options["weights"].zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, query)[0], plain[0])


@pytest.mark.parametrize(("kind", "names"), TOGETHER)
def test_opcheck(kind: int, names: tuple[str, ...]) -> None:
    rows, columns = close_pairs(6, 4, torch.float32)
    options = given_options(names, 6, 6, torch.float32)
    arguments = (rows, columns, torch.tensor(3.0), None, 0.0, 0.0, kind, 0.2, True, True, True, True, False, *options)
    torch.library.opcheck(ops.few_pairs, arguments)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ROWS, Options(smoothing=1.5)),
        (ROWS, Options(tau_plus=1.0)),
        (ROWS, Options(row_ids=torch.arange(3))),
        (ROWS, Options(factors=torch.ones(2))),
        (ROWS, Options(factors=torch.ones(3, dtype=torch.float64))),
        (ROWS, Options(positives=torch.tensor([0, 1, 3]))),
        (ROWS, Options(positives=torch.arange(3).int())),
        (TWO_WAYS, Options(positives=torch.arange(3))),
        (SIGMOID, Options(tau_plus=0.1)),
        (SIGMOID, Options(factors=torch.ones(3))),
        (SIGMOID, Options(positives=torch.arange(3))),
    ],
)
def test_wrong_options_are_refused(kind: int, options: Options) -> None:
    rows = torch.ones(3, 2)
    with pytest.raises(RuntimeError):
        ops.few_pairs(rows, rows, None, None, 1.0, 0.0, kind, 1.0, True, True, True, False, False, *options)
    for kind, columns in ((ROWS, 4), (SIGMOID, 4), (TWO_WAYS, 2)):  # none of more is chosen; a row has no positive
        with pytest.raises(RuntimeError):
            ops.few_pairs(rows, torch.ones(columns, 2), None, None, 1.0, 0.0, kind, 1.0, True, *[True] * 3, False)
