"""The options of few_pairs, label smoothing, a margin, debiasing, weights, keys by index and ids: the operator against
the definition, and clip_loss of small batches, which is made of it; test_info_nce_one_call.py has info_nce_loss.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads as loss_with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor

from sslfast import ops
from sslfast.losses import _few_pairs, clip_loss, info_nce_loss
from sslfast.losses._few_pairs import ROWS, SIGMOID, TWO_WAYS, Options
from sslfast.reference.few_pairs import few_pairs as reference

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
