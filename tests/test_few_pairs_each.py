"""The softmax losses of few pairs one by one: the operator that makes them and their gradients against the definition,
and info_nce_loss(reduction="none") of small batches, which is made of it.
"""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import N, ours, tensors, with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from test_few_pairs_options import TOGETHER, given_options, wide
from torch import Tensor

from sslfast import ops
from sslfast.losses import info_nce_loss
from sslfast.losses._few_pairs import ROWS, SIGMOID, TWO_WAYS
from sslfast.reference.few_pairs import few_pairs as reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference

CHOICES = [(ROWS, ()), (TWO_WAYS, ()), *((kind, names) for kind, names in TOGETHER if "smoothing" not in names)]
each_choice = pytest.mark.parametrize(("kind", "names"), CHOICES)


@each_choice
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "width", "scale"), [(3, 2, -4.0), (65, 33, 10.0)])
def test_against_the_definition(
    kind: int, names: tuple[str, ...], dtype: torch.dtype, size: int, width: int, scale: float
) -> None:
    rows, columns = close_pairs(size, width, dtype)
    if {"positives", "further"} & {*names}:
        columns = torch.cat([columns, torch.randn(7, width).to(dtype)])
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    options, given = given_options(names, size, len(columns), sums), torch.tensor(scale, dtype=sums)
    found = ops.few_pairs(rows, columns, given, None, 0.0, 0.0, kind, 0.5, True, *[False] * 4, *options, True)
    assert len(found) == 1
    truth = reference(rows.double(), columns.double(), scale, 0.0, kind, 0.5, True, *wide(options), each=True)
    same = reference(rows.to(sums), columns.to(sums), given, 0.0, kind, 0.5, True, *options, each=True)
    reach = 16 * torch.finfo(sums).eps * max(abs(scale), 10)
    assert_no_worse(found[0], same, truth, reach * truth.abs().clamp_min(0.1 * truth.abs().max()) + 4e-37)


ONE_CALL = [
    "the other keys",
    "keys by index",
    "both ways",
    "given negatives and the other keys",
    "ids both ways",
    "a margin",
    "debiased, turned round",
    "debiased both ways",
    "debiased down to the least",
]


def each(*args: object, **options: object) -> Tensor:
    return info_nce_loss(*args, reduction="none", **options)


@pytest.mark.parametrize("case", ONE_CALL)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_info_nce_is_two_calls(case: str, weighted: bool, dtype: torch.dtype) -> None:
    """With what comes in for a gradient of any sign, and of some losses 0."""
    given, incoming = tensors(dtype), torch.randn(N).index_fill_(0, torch.tensor([0, 5]), 0.0)
    exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
    weights = torch.rand(N, dtype=dtype) if weighted else None

    def definition(*args: object, **options: object) -> Tensor:
        losses = info_nce_reference(*args, **options)
        return losses if weights is None else losses * weights.to(losses)

    with Operators() as ran:
        found = with_grads(functools.partial(each, weights=weights), given, case, incoming)
    assert ran.names == ["few_pairs", "few_pairs_backward"]
    truth, same = with_grads(definition, exact, case, incoming), with_grads(definition, given, case, incoming)
    for f, s, t in zip(found, same, truth, strict=True):
        assert f.dtype == dtype
        assert_no_worse(f, s, t, 128 * torch.finfo(f.dtype).eps * max(1.0, float(t.abs().max())))


@pytest.mark.parametrize("case", ONE_CALL)
def test_the_same_in_tiles(case: str) -> None:
    given, incoming = tensors(), torch.randn(N)
    with Operators() as ran:
        expected = with_grads(ours, given, case, incoming)
    assert "few_pairs" not in ran.names
    for f, g in zip(with_grads(each, given, case, incoming), expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_once(dtype: torch.dtype) -> None:
    sides, incoming = close_pairs(40, 12, dtype), torch.rand(40)
    leaves = [z.clone().requires_grad_() for z in sides]
    losses = each(*leaves)
    assert losses.dtype == torch.float32
    doubles = [z.double().requires_grad_() for z in sides]
    truth = info_nce_reference(*doubles)
    torch.testing.assert_close(losses.double(), truth, rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad(losses, leaves, incoming)
    for g, t in zip(grads, torch.autograd.grad(truth, doubles, incoming.double()), strict=True):
        assert g.dtype == dtype
        torch.testing.assert_close(g.double(), t, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_by_hand() -> None:
    """Logits of 10 for the pairs, of 0 for all else; the ids of the first query leave it none of these."""
    eye, ids = torch.eye(4), torch.tensor([9, 1, 2, 3])
    torch.testing.assert_close(each(eye, eye), torch.log1p(3 * torch.exp(torch.full((4,), -10.0))))
    assert torch.equal(each(eye[:1], eye[:1], tau_plus=0.1), torch.zeros(1))
    losses = each(eye, eye, query_ids=ids, key_ids=torch.full((4,), 9))
    torch.testing.assert_close(losses, torch.log1p(torch.tensor([0.0, 3.0, 3.0, 3.0]) * torch.exp(torch.tensor(-10.0))))


def test_a_loss_that_is_not_finite_is_its_own() -> None:
    query, keys = close_pairs(5, 3, torch.float32)
    query[2, 1] = torch.nan
    assert torch.equal(each(query, keys).isnan(), torch.arange(5) == 2)
    assert each(*close_pairs(5, 3, torch.float32), temperature=torch.tensor(torch.nan)).isnan().all()


def test_gradients_of_a_graph_that_is_kept() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(8, 5, torch.float64))
    losses = each(query, keys)
    once = torch.autograd.grad(losses.sum(), (query, keys), retain_graph=True)
    for a, b in zip(once, torch.autograd.grad(3 * losses.sum(), (query, keys), retain_graph=True), strict=True):
        torch.testing.assert_close(3 * a, b)
    rows = [torch.autograd.grad(losses[i], (query, keys), retain_graph=True) for i in range(8)]
    jacobian = torch.autograd.grad(losses, (query, keys), torch.eye(8).double(), is_grads_batched=True)
    for many, single in zip(jacobian, zip(*rows, strict=True), strict=True):
        torch.testing.assert_close(many, torch.stack(single))
    assert torch.autograd.gradcheck(each, (query, keys))


@pytest.mark.parametrize("place", [0, 1])
def test_a_second_derivative_raises(place: int) -> None:
    leaves = [z.requires_grad_() for z in close_pairs(5, 3, torch.float32)]
    (grad,) = torch.autograd.grad(each(*leaves).sum(), leaves[place], create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_what_changes_before_backward() -> None:
    """A leaf that takes a gradient raises, and so do ids; a side that takes none may change."""
    query, keys, ids = *close_pairs(6, 4, torch.float32), torch.arange(6)
    leaf, locked = query.clone().requires_grad_(), keys.clone()
    (expected,) = torch.autograd.grad(each(leaf, keys).sum(), leaf)
    losses = each(leaf, locked)
    locked.zero_()
    assert torch.equal(torch.autograd.grad(losses.sum(), leaf)[0], expected)
    for changed, losses in ((leaf, each(leaf, keys)), (ids, each(leaf, keys, query_ids=ids, key_ids=ids))):
        with torch.no_grad():
            changed.zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            losses.sum().backward()


def test_without_a_gradient() -> None:
    query, keys = close_pairs(6, 4, torch.float32)
    with torch.no_grad(), Operators() as ran:
        assert not each(query.requires_grad_(), keys).requires_grad
    assert ran.names == ["few_pairs"]
    losses = each(query, keys, temperature=torch.tensor(0.2, requires_grad=True))
    assert losses.shape == (6,)
    (grad,) = torch.autograd.grad(losses.sum(), query)
    assert grad.shape == query.shape


@each_choice
def test_opcheck(kind: int, names: tuple[str, ...]) -> None:
    sides, scale = close_pairs(6, 4, torch.float32), torch.tensor(3.0)
    options = given_options(names, 6, 6, torch.float32)
    for needs in ((True, True, True, False), (False, True, False, False)):
        arguments = (*sides, scale, None, 0.0, 0.0, kind, 0.2, True, *needs, *options, True)
        torch.library.opcheck(ops.few_pairs, arguments)
        arguments = (*sides, scale, 0.0, kind, 0.2, True, *needs[:3], *options[1:])
        torch.library.opcheck(ops.few_pairs_backward, arguments)


@pytest.mark.parametrize(("kind", "smoothing"), [(SIGMOID, 0.0), (ROWS, 0.1)])
def test_losses_that_are_none_of_a_row_are_refused(kind: int, smoothing: float) -> None:
    rows = F.normalize(torch.randn(3, 2), dim=1)
    rest = (smoothing, None, 0.0, None, None, None, None, True)
    with pytest.raises(RuntimeError, match="few_pairs: each loss is of a softmax, without smoothing"):
        ops.few_pairs(rows, rows, None, None, 1.0, 0.0, kind, 1.0, True, *[False] * 4, *rest)
