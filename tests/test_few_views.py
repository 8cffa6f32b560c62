"""few_views, NT-Xent and the decoupled losses of small batches in one operator: against the definition, and what it
leaves to tiles.

tests/test_loss_regimes.py has the losses that are made of it, with and without.
"""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslfast import ops
from sslfast.losses import DCLLoss, DCLWLoss, MatryoshkaLoss, NTXentLoss, _few_pairs, dcl_loss, dclw_loss, nt_xent_loss
from sslfast.losses._few_pairs import few_samples
from sslfast.reference import dcl, nt_xent
from sslfast.reference.few_views import few_views as reference

# What makes the positives' weights: NT-Xent; all 1; those of DCLW, also turned round; given ones.
KINDS = {
    "nt_xent": (False, None),
    "dcl": (True, None),
    "dclw": (True, 0.5),
    "dclw, sigma < 0": (True, -0.2),
    "weights": (True, None),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
# N, D, scale: one sample, which has no negatives; two; a negative scale; panels of the products half full; the most
# that the losses ask for; more than one shift of a row; steep, where exp of one row's logits is 0 beside another's.
SIZES = [(1, 5, 2.0), (2, 1, 3.0), (3, 2, -4.0), (65, 33, 10.0), (256, 24, 14.0), (129, 130, 60.0), (40, 16, 200.0)]


def weights_of(kind: str, size: int) -> Tensor | None:
    return torch.linspace(-1, 2, 2 * size, dtype=torch.float64) if kind == "weights" else None


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "width", "scale"), SIZES)
def test_against_the_definition(kind: str, dtype: torch.dtype, size: int, width: int, scale: float) -> None:
    decoupled, sigma = KINDS[kind]
    views, weights = close_pairs(size, width, dtype), weights_of(kind, size)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    eps = torch.finfo(wide).eps

    def by_definition(to: torch.dtype) -> list[Tensor]:
        leaves = [z.to(to) for z in (*views, weights) if z is not None]
        return with_grads(lambda a, b, w=None: reference(a, b, w, scale, sigma, decoupled), *leaves)

    if decoupled and size == 1:
        assert ops.few_views(*views, weights, scale, sigma, True, False, False, False)[0] == -torch.inf
        return
    truth, same = by_definition(torch.float64), by_definition(wide)
    for needs in ((True, True, True), (True, False, False), (False, True, True), (False, False, False)):
        wanted = (*needs[:2], needs[2] and weights is not None)
        found = ops.few_views(*views, weights, scale, sigma, decoupled, *wanted)
        expected = [(s, t) for s, t, want in zip(same, truth, (True, *wanted), strict=False) if want]
        for f, (s, t) in zip(found, expected, strict=True):
            assert f.dtype == wide
            # The loss of a decoupled kind is a difference of numbers of the size of the scale.
            largest = t.abs().amax(dim=1, keepdim=True) if t.dim() == 2 else t.abs()
            least = t.abs().max() * 0.1 if t.dim() else float(decoupled)
            assert_no_worse(f, s, t, 16 * eps * max(abs(scale), 10) * largest.clamp_min(least) + 1e-14 * eps)


@each_kind
@pytest.mark.parametrize("temperature", [0.06, 0.1, 0.5])
@pytest.mark.parametrize("apart", [0.01, 0.1, 0.5])
def test_float32_late_in_training(kind: str, temperature: float, apart: float) -> None:
    """Views that training has brought together, beside the others': a loss near 0 of NT-Xent."""
    decoupled, sigma = KINDS[kind]
    z0 = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))[0][:48]
    views = [z.float() for z in (z0, F.normalize(z0 + apart / 8 * torch.randn(48, 64), dim=1))]
    weights, scale = weights_of(kind, 48), 1 / temperature
    loss, *grads = ops.few_views(*views, weights, scale, sigma, decoupled, True, True, False)
    exact = with_grads(lambda a, b: reference(a, b, weights, scale, sigma, decoupled), *(z.double() for z in views))
    assert (loss - exact[0]).abs() <= 2e-6 * (scale if decoupled else exact[0])
    for f, g in zip(grads, exact[1:], strict=True):
        assert (f - g).norm() <= 2e-6 * g.norm()


@each_kind
def test_any_strides_and_two_types(kind: str) -> None:
    decoupled, sigma = KINDS[kind]
    (z0, z1), weights = close_pairs(9, 6, torch.float64), weights_of(kind, 9)
    rest = (4.0, sigma, decoupled, True, True, weights is not None)
    expected = ops.few_views(z0, z1, weights, *rest)
    sliced = torch.stack([z0, -z0], dim=-1).flatten(-2)[..., ::2]
    every_other = None if weights is None else torch.stack([weights, weights], dim=1).flatten()[::2]
    for f, g in zip(ops.few_views(sliced, z1.T.contiguous().T, every_other, *rest), expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-12, atol=1e-12)
    for narrow in (torch.float32, torch.bfloat16, torch.float16):
        mixed = ops.few_views(z0, z1.to(narrow), weights, *rest)
        for f, g in zip(mixed, ops.few_views(z0, z1.to(narrow).double(), weights, *rest), strict=True):
            assert torch.equal(f, g)
    if weights is not None:
        narrow_weights = weights.bfloat16()
        of_narrow, of_wide = (ops.few_views(z0, z1, w, *rest) for w in (narrow_weights, narrow_weights.double()))
        assert all(torch.equal(f, g) for f, g in zip(of_narrow, of_wide, strict=True))


@each_kind
def test_opcheck(kind: str) -> None:
    decoupled, sigma = KINDS[kind]
    views, weights = close_pairs(5, 4, torch.float32), weights_of(kind, 5)
    for needs in ((True, True), (False, True)):
        arguments = (*views, weights, 3.0, sigma, decoupled, *needs, weights is not None)
        torch.library.opcheck(ops.few_views, arguments)
    with FakeTensorMode() as mode:
        found = ops.few_views(mode.from_tensor(views[0]), torch.empty(5, 4).double(), None, 1.0, None, False, 0, 1, 0)
    assert [(z.shape, z.dtype) for z in found] == [((), torch.float64), ((5, 4), torch.float64)]


def test_wrong_arguments_are_refused() -> None:
    z, weights = torch.ones(3, 2), torch.ones(6)
    plain = (None, 1.0, None, False, True, True, False)
    for arguments in (
        (z, z[:2], *plain),
        (z, z[:, :1], *plain),
        (z.long(), z, *plain),
        (z[:, :0], z[:, :0], *plain),
        (z[:1].expand(2**14 + 1, -1), z[:1].expand(2**14 + 1, -1), *plain),
        (z, z, weights, 1.0, None, False, True, True, False),
        (z, z, None, 1.0, 0.5, False, True, True, False),
        (z, z, weights, 1.0, 0.5, True, True, True, False),
        (z, z, weights[:5], 1.0, None, True, True, True, False),
        (z, z, weights.long(), 1.0, None, True, True, True, False),
        (z, z, None, 1.0, None, True, True, True, True),
    ):
        with pytest.raises(RuntimeError):
            ops.few_views(*arguments)


def similar(z0: Tensor, z1: Tensor) -> Tensor:
    """Weights with a gradient."""
    return (z0 * z1).sum(dim=1).exp()


LOSSES = {
    "nt_xent": nt_xent_loss,
    "dcl": dcl_loss,
    "dcl, weights": functools.partial(dcl_loss, weight_fn=similar),
    "dclw": dclw_loss,
    "DCLWLoss": DCLWLoss(0.2, 0.3),
    "Matryoshka": MatryoshkaLoss(NTXentLoss(0.1), (3,)),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


@each_loss
def test_a_small_batch_is_one_operator_up_to_256_samples(name: str) -> None:
    views = [z.requires_grad_() for z in close_pairs(257, 3, torch.float32)]
    for size in (256, 257):
        with Operators() as operators:
            LOSSES[name](views[0][:size], views[1][:size]).backward()
        assert (operators.names == ["few_views"]) == (size == 256)


@pytest.mark.parametrize(("size", "width", "one"), [(256, 128, True), (256, 129, False), (8, 4096, True)])
def test_bfloat16_is_widened_where_it_is_little(size: int, width: int, one: bool) -> None:
    views = close_pairs(size, width, torch.bfloat16)
    assert few_samples(*views) == one
    assert few_samples(views[0], views[1].float())
    assert few_samples(views[0].half(), views[1].half())


@each_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_switch_is_no_step(name: str, dtype: torch.dtype) -> None:
    # The sample that makes it one too many tells all others nothing: its rows are across from theirs.
    views = [F.pad(z, (0, 1)) for z in close_pairs(256, 6, dtype)]
    found = with_grads(LOSSES[name], *views)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_few_pairs, "_MOST", 255)
        expected = with_grads(LOSSES[name], *views)
    tolerance = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 1e-2}[dtype]
    for f, g in zip(found, expected, strict=True):
        assert f.dtype == g.dtype
        assert (f - g).abs().max() <= tolerance * g.abs().max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_takes_tiles() -> None:
    views = close_pairs(6, 4, torch.float32)
    assert few_samples(*views)
    assert not few_samples(*(z.to("meta") for z in views))
    with Operators() as operators:
        nt_xent_loss(*views, tau_plus=0.1)
    assert "few_views" not in operators.names

    def number(z: Tensor) -> Tensor:
        return z + int(few_samples(z, z))

    zeros = torch.zeros(3, 2)
    assert not torch.compile(number, backend="eager")(zeros).any()
    assert not torch.jit.trace(number, zeros, check_trace=False)(zeros).any()


@each_loss
def test_no_gradient_one_gradient_and_the_same_view_twice(name: str) -> None:
    loss = LOSSES[name]
    z0, z1 = close_pairs(6, 4, torch.float64)
    both = [z.clone().requires_grad_() for z in (z0, z1)]
    expected = torch.autograd.grad(loss(*both), both)
    for k in range(2):
        views = [z.clone().requires_grad_(i == k) for i, z in enumerate((z0, z1))]
        found = loss(*views)
        if name != "dcl, weights":  # whose weights are differentiated by torch, which saves the views
            views[1 - k].zero_()  # takes no gradient: it may change before backward
        found.backward()
        torch.testing.assert_close(views[k].grad, expected[k])
        assert views[1 - k].grad is None
    with Operators() as operators, torch.no_grad():
        assert not loss(*both).requires_grad
    assert operators.names == ["few_views"]
    once = z0.clone().requires_grad_()
    twice = [z0.clone().requires_grad_() for _ in range(2)]
    (found,) = torch.autograd.grad(loss(once, once), once)
    torch.testing.assert_close(found, sum(torch.autograd.grad(loss(*twice), twice)))


@each_loss
def test_many_gradients_of_one_loss(name: str) -> None:
    leaves = [z.requires_grad_() for z in close_pairs(6, 4, torch.float32)]
    loss = LOSSES[name](*leaves)
    factors = torch.tensor([1.0, -2.0])
    together = torch.autograd.grad(loss, leaves, factors, retain_graph=True, is_grads_batched=True)
    plain = torch.autograd.grad(loss, leaves)
    for several, one in zip(together, plain, strict=True):
        torch.testing.assert_close(several, torch.stack([one, -2 * one]))


@pytest.mark.parametrize("most", [0, 256])
def test_weights_of_any_kind(monkeypatch, most: int) -> None:
    """Whole numbers and NaN, and those of DCLWLoss that have been replaced."""
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    z0, z1 = close_pairs(5, 4, torch.float32)
    for whole in (torch.int64, torch.bool):
        weight_fn = lambda a, b, to=whole: (torch.arange(len(a)) % 2).to(to)  # noqa: E731
        loss = dcl_loss(z0, z1, weight_fn=weight_fn)
        assert loss == dcl_loss(z0, z1, weight_fn=lambda a, b: (torch.arange(len(a)) % 2).float())
    assert dcl_loss(z0, z1, weight_fn=lambda a, b: torch.full((len(a),), torch.nan)).isnan()
    criterion = DCLWLoss(0.1)
    criterion.weight_fn = similar
    assert torch.equal(criterion(z0, z1), DCLLoss(0.1, similar)(z0, z1))
    criterion = DCLWLoss(0.1)
    criterion.sigma = 0.2
    assert torch.equal(criterion(z0, z1), dclw_loss(z0, z1, 0.1, 0.2))


@pytest.mark.parametrize("noise", [None, 0.3])  # of the second views beside the first
@pytest.mark.parametrize(("loss", "definition"), [(nt_xent_loss, nt_xent.nt_xent_loss), (dcl_loss, dcl.dcl_loss)])
def test_gradients_have_the_roundings_of_the_definition(noise, loss, definition):
    """Where one product has the positives' weights, too, gradients are off by up to 2.2 times as much."""
    z0, z1 = torch.randn(2, 128, 128)
    z1 = z1 if noise is None else z0 + noise * z1

    def gradients(function, dtype):
        leaves = [z.to(dtype).requires_grad_() for z in (z0, z1)]
        return torch.autograd.grad(function(*leaves, 0.5), leaves)

    found, same = gradients(loss, torch.float32), gradients(definition, torch.float32)
    for f, s, t in zip(found, same, gradients(definition, torch.float64), strict=True):
        assert (f.double() - t).norm() <= 1.1 * (s.double() - t).norm()
