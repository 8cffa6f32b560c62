"""few_pairs, the losses of small batches in one operator: against the definition, and what it leaves to tiles.

tests/test_loss_regimes.py has the losses that are made of it, with and without.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from oracle import assert_no_worse
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslfast import ops
from sslfast.losses import _few_pairs, clip_loss, info_nce_loss, siglip_loss
from sslfast.losses._few_pairs import ROWS, SIGMOID, TWO_WAYS, few
from sslfast.reference.few_pairs import few_pairs as reference

KINDS = pytest.mark.parametrize("kind", [ROWS, TWO_WAYS, SIGMOID])
# N, D, scale: one pair; a negative scale; panels of the products half full; the most that the losses ask for; steep,
# where exp of one row's logits is 0 beside another's.
SIZES = [(1, 5, 2.0), (3, 2, -4.0), (65, 33, 10.0), (256, 24, 14.0), (40, 16, 200.0)]


def close_pairs(size: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    rows = torch.randn(size, width, dtype=torch.float64)
    return rows.to(dtype), (rows + torch.randn(size, width)).to(dtype)


@KINDS
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "width", "scale"), SIZES)
def test_against_the_definition(kind: int, normalize: bool, dtype: torch.dtype, size: int, width: int, scale: float):
    sides, bias, share = close_pairs(size, width, dtype), -0.3 * abs(scale), 0.7 / size
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    eps = torch.finfo(wide).eps

    def by_definition(to: torch.dtype) -> list[Tensor]:
        leaves = [*(z.to(to) for z in sides), torch.tensor(scale, dtype=to), torch.tensor(bias, dtype=to)]
        leaves = leaves if kind == SIGMOID else leaves[:3]
        return with_grads(lambda a, b, s, t=0.0: reference(a, b, s, t, kind, share, normalize), *leaves)

    truth, same = by_definition(torch.float64), by_definition(wide)
    numbers = [torch.tensor(x, dtype=wide) for x in (scale, bias)]
    norms = 1.0 if normalize else max(z.double().norm(dim=1).max().item() for z in sides) ** 2
    reach = 16 * eps * max(abs(scale) * norms, 10)
    for needs in ((True, True, True), (True, False, False), (False, True, True), (False, False, False)):
        wanted = (*needs, needs[2] and kind == SIGMOID)
        found = ops.few_pairs(*sides, *numbers, 0.0, 0.0, kind, share, normalize, *wanted)
        expected = [(s, t) for s, t, want in zip(same, truth, (True, *wanted), strict=False) if want]
        for f, (s, t) in zip(found, expected, strict=True):
            largest = t.abs().amax(dim=1, keepdim=True) if t.dim() == 2 else t.abs()
            assert_no_worse(f, s, t, reach * torch.maximum(largest, t.abs().max() * 0.1) + 4e-37)


@KINDS
def test_numbers_need_no_tensors(kind: int) -> None:
    rows, columns = close_pairs(7, 5, torch.float32)
    needs = (True, True, False, False)
    given = [torch.tensor(x, dtype=torch.bfloat16) for x in (4.0, -2.0)]
    found = ops.few_pairs(rows, columns, *given, 0.0, 0.0, kind, 0.5, True, *needs)
    for f, g in zip(found, ops.few_pairs(rows, columns, None, None, 4.0, -2.0, kind, 0.5, True, *needs), strict=True):
        assert torch.equal(f, g)


@KINDS
def test_any_strides_and_two_types(kind: int) -> None:
    rows, columns = close_pairs(9, 6, torch.float64)
    rest = (None, None, 3.0, -1.0, kind, 1.0, True, True, True, False, False)
    expected = ops.few_pairs(rows, columns, *rest)
    strided = torch.stack([rows, -rows], dim=-1).flatten(-2)[..., ::2]
    for f, g in zip(ops.few_pairs(strided, columns.T.contiguous().T, *rest), expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-12, atol=1e-12)
    for narrow in (torch.float32, torch.bfloat16, torch.float16):
        mixed = ops.few_pairs(rows, columns.to(narrow), *rest)
        truth = ops.few_pairs(rows, columns.to(narrow).double(), *rest)
        for f, g in zip(mixed, truth, strict=True):
            assert torch.equal(f, g)


@KINDS
def test_opcheck(kind: int) -> None:
    rows, columns = close_pairs(5, 4, torch.float32)
    scale, bias = torch.tensor(3.0), torch.tensor([-1.0])
    for needs in ((True, True), (False, True)):
        arguments = (rows, columns, scale, bias, 0.0, 0.0, kind, 0.2, True, *needs, True, kind == SIGMOID)
        torch.library.opcheck(ops.few_pairs, arguments)


def test_wrong_arguments_are_refused() -> None:
    rows, rest = torch.ones(3, 2), (0.0, 0.0, 0, 1.0, True, True, True, False, False)
    for arguments in (
        (rows, rows[:2], None, None, *rest),
        (rows, rows, torch.ones(2), None, *rest),
        (rows, rows, None, None, 1.0, 0.0, 3, *rest[3:]),
        (rows.long(), rows, None, None, *rest),
        (rows[:, :0], rows[:, :0], None, None, *rest),
        (rows[:1].expand(2**15 + 1, -1), rows[:1].expand(2**15 + 1, -1), None, None, *rest),
    ):
        with pytest.raises(RuntimeError):
            ops.few_pairs(*arguments)


class Operators(TorchDispatchMode):
    """Which operators of sslfast run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "sslfast":
            self.names.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


LOSSES = {
    "clip": lambda a, b: clip_loss(a, b, 14.0),
    "siglip": lambda a, b: siglip_loss(a, b, 14.0, -10.0, normalize=True),
    "info_nce": info_nce_loss,
    "info_nce, both ways": lambda a, b: info_nce_loss(a, b, symmetric=True, reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_small_batch_is_one_operator_up_to_512_pairs(name: str) -> None:
    sides = [z.requires_grad_() for z in close_pairs(513, 3, torch.float32)]
    for size in (512, 513):
        with Operators() as operators:
            LOSSES[name](sides[0][:size], sides[1][:size]).backward()
        assert (operators.names == ["few_pairs"]) == (size == 512)


@pytest.mark.parametrize(
    ("options", "size", "at_once"),
    [
        ({}, 256, True),
        ({}, 257, False),
        ({"margin": 0.1, "label_smoothing": 0.1}, 257, False),
        ({"label_smoothing": 0.1, "image_ids": torch.arange(257), "text_ids": torch.arange(257)}, 257, True),
    ],
)
def test_bfloat16_is_widened_where_tiles_would_not_be_faster(options: dict, size: int, at_once: bool) -> None:
    sides = close_pairs(size, 3, torch.bfloat16)
    with Operators() as operators:
        clip_loss(*sides, 14.0, **options)
    assert (operators.names == ["few_pairs"]) == at_once


@pytest.mark.parametrize("n", [1, 3])
def test_more_columns_than_the_operator_takes(n: int) -> None:
    images, texts = torch.randn(2, n, 2, dtype=torch.float64)
    further = torch.randn(2**15, 2, dtype=torch.float64)
    for count in (2**15 - n, 2**15):
        with Operators() as operators:
            found = info_nce_loss(images, texts, further[:count], in_batch=True)
        assert ("few_pairs" in operators.names) == (n + count <= 2**15)
        u, v, w = (F.normalize(z, dim=1) for z in (images, texts, further[:count]))
        torch.testing.assert_close(found, F.cross_entropy(u @ torch.cat([v, w]).T / 0.1, torch.arange(n)))


@pytest.mark.parametrize("name", LOSSES)
def test_the_switch_is_no_step(name: str) -> None:
    # The pair that makes it one too many tells all others nothing: its rows are across from theirs.
    sides = [F.pad(z, (0, 1)) for z in close_pairs(256, 6, torch.float64)]
    found = with_grads(LOSSES[name], *sides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslfast.losses._few_pairs._MOST", 255)
        expected = with_grads(LOSSES[name], *sides)
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-13)


def test_keys_without_a_gradient_may_change_before_backward() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(6, 4, torch.float32))
    locked = keys.detach().clone()
    (expected,) = torch.autograd.grad(info_nce_loss(query, keys), query)
    loss = info_nce_loss(query, locked)
    locked.zero_()
    loss.backward()
    torch.testing.assert_close(query.grad, expected)


def test_what_makes_no_gradient_and_what_is_compiled() -> None:
    rows, columns = close_pairs(6, 4, torch.float32)
    with Operators() as operators, torch.no_grad():
        assert not clip_loss(rows.requires_grad_(), columns, 5.0).requires_grad
    assert operators.names == ["few_pairs"]
    assert few(rows, columns)
    assert not few(rows.to("meta"), columns.to("meta"))
    assert not torch.compile(lambda a: a + int(few(a, a)), backend="eager")(torch.zeros(3, 2)).any()


def test_many_gradients_of_one_loss() -> None:
    leaves = [z.requires_grad_() for z in close_pairs(6, 4, torch.float32)]
    loss = clip_loss(*leaves, 5.0)
    factors = torch.tensor([1.0, -2.0])
    together = torch.autograd.grad(loss, leaves, factors, retain_graph=True, is_grads_batched=True)
    plain = torch.autograd.grad(loss, leaves)
    for several, one in zip(together, plain, strict=True):
        torch.testing.assert_close(several, torch.stack([one, -2 * one]))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_temperature_that_is_learned(symmetric: bool, dtype: torch.dtype) -> None:
    """As a parameter of the batch's dtype: its gradient, and the operator that runs."""
    rows, columns = torch.randn(2, 9, 5, dtype=dtype)
    temperature = torch.tensor([0.25], dtype=dtype)

    def loss(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return info_nce_loss(a, b, temperature=t, symmetric=symmetric)

    with Operators() as ran:
        found = with_grads(loss, rows, columns, temperature)
    assert ran.names == ["few_pairs"]
    assert [z.dtype for z in found[1:]] == [dtype] * 3
    assert found[3].shape == (1,)

    def plain(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        logits, own = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / t, torch.arange(9)
        one = F.cross_entropy(logits, own)
        return (one + F.cross_entropy(logits.T, own)) / 2 if symmetric else one

    exact = with_grads(plain, *(z.double() for z in (rows, columns, temperature)))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}[dtype]
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
    for bad in (torch.nan, torch.inf):
        assert loss(rows, columns, torch.full_like(temperature, bad)).isnan()


@pytest.mark.parametrize("options", [{}, {"symmetric": True, "reduction": "sum"}, {"queue": torch.eye(4)}])
def test_what_most_batches_are_skips_checks_alone(options) -> None:
    rows, columns = close_pairs(6, 4, torch.float32)
    general = info_nce_loss(rows, columns, temperature=1, tau_plus=0, **options)  # an int is not what most pass
    assert torch.equal(info_nce_loss(rows, columns, temperature=1.0, **options), general)
    for wrong, text in (
        ({"temperature": 0.0}, "temperature must be at least 1e-8"),
        ({"temperature": torch.nan}, "temperature must be finite"),
        ({"reduction": "max"}, "reduction must be"),
        ({"positive_key": columns[:5]}, "positive_key must have shape"),
        ({"query": rows.to("meta")}, "positive_key must be on meta"),
        ({"query": rows.int()}, "query must be a floating-point tensor"),
        ({"query": rows.to_sparse()}, "query must be a plain strided tensor, got one of torch.sparse_coo"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^info_nce_loss: {text}"):
            info_nce_loss(**({"query": rows, "positive_key": columns} | options | wrong))


each_most = pytest.mark.parametrize("most", [0, 256])  # pairs of a small batch


@each_most
@pytest.mark.parametrize("name", ["info_nce", "info_nce, both ways"])
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, 3e38])
def test_an_infinite_feature_is_no_perfect_pair(monkeypatch, name: str, bad: float, most: int) -> None:
    """Its pair's logit is +inf, its row's others are -inf, and so they are of 3e38 times the scale."""
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    rows, columns = torch.eye(4), torch.full((4, 4), 0.5)
    rows[1, 1] = bad
    columns[:, 1] -= 1.0
    columns[1, 1] = 0.5
    symmetric = name.endswith("ways")
    for needed in (False, True):
        loss = info_nce_loss(rows.clone().requires_grad_(needed), columns, normalize=False, symmetric=symmetric)
        assert loss.isnan()


@each_most
@pytest.mark.parametrize(("scale", "bias"), [(torch.inf, 0.0), (-torch.inf, 0.0), (1.0, torch.inf), (1.0, -torch.inf)])
def test_an_infinite_scale_or_bias_is_no_perfect_batch(monkeypatch, scale: float, bias: float, most: int) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    rows = torch.eye(3)
    assert not siglip_loss(rows, 2 * rows - 1, torch.tensor(scale), torch.tensor(bias)).isfinite()


@each_most
@pytest.mark.parametrize("loss", [clip_loss, siglip_loss])
def test_a_scale_of_float64_that_float32_cannot_hold(monkeypatch, loss, most: int) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    scale = torch.tensor(1e39, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(5, 3)
    assert not loss(rows, torch.randn(5, 3), scale).isfinite()
    small = torch.tensor(0.1, dtype=torch.float64)  # is that of float32, as a number in a tensor of it is
    assert loss(rows, rows, small) == loss(rows, rows, small.float())
