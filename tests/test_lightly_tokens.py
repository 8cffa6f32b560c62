"""lightly's repeat_token and set_at_index: lightly's numbers and gradients, in its own MAE loop too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import all_equal
from peer_oracle import peer
from torch import Tensor

from sslfast.masking.drop_in import lightly

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def with_gradients(function: Any, *inputs: Tensor) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = function(*leaves)
    weights = torch.arange(out.numel(), dtype=torch.float32).view(out.shape).cos().to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, weights)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "length", "count"), [(3, 9, 4), (2, 5, 5), (2, 5, 0), (1, 1, 1), (0, 4, 2)])
def test_set_at_index_is_lightlys(device, rows, length, count, dtype):
    theirs = peer("lightly.models.utils").set_at_index
    index = torch.rand(rows, length).argsort(1)[:, :count].to(device)
    tokens, value = torch.randn(rows, length, 6), torch.randn(rows, count, 6)
    inputs = [x.to(device, dtype) for x in (tokens, value)]
    before = inputs[0].clone()
    for first in (inputs[0], inputs[0].transpose(0, 1).contiguous().transpose(0, 1)):  # any strides
        ours = with_gradients(lambda t, v: lightly.set_at_index(t, index, v), first, inputs[1])
        assert all_equal(ours, with_gradients(lambda t, v: theirs(t, index, v), first, inputs[1]))
    assert torch.equal(inputs[0], before)


def test_set_at_index_of_integers():
    index = torch.tensor([[2, 0]])
    tokens, value = torch.arange(6).view(1, 3, 2), torch.full((1, 2, 2), 9)
    expected = peer("lightly.models.utils").set_at_index(tokens, index, value)
    assert torch.equal(lightly.set_at_index(tokens, index, value), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_repeated_token_is_lightlys(device, dtype):
    theirs = peer("lightly.models.utils")
    index = torch.rand(4, 10).argsort(1)[:, :3].to(device)
    token, value = torch.randn(1, 1, 6).to(device, dtype), torch.randn(4, 3, 6).to(device, dtype)

    def of(module: Any) -> Any:
        return lambda t, v: module.set_at_index(module.repeat_token(t, (4, 10)), index, v)

    ours, expected = (with_gradients(of(module), token, value) for module in (lightly, theirs))
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[2], expected[2])
    torch.testing.assert_close(ours[1], expected[1])
    repeated = lightly.repeat_token(token, (4, 10))
    assert repeated.untyped_storage().data_ptr() == token.untyped_storage().data_ptr()
    assert torch.equal(repeated, theirs.repeat_token(token, (4, 10)))


def test_gradients_of_a_repeated_token():
    index = torch.tensor([[3, 1], [0, 2], [1, 0]])
    token = torch.randn(1, 1, 3, dtype=torch.float64, requires_grad=True)
    value = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)

    def function(t: Tensor, v: Tensor) -> Tensor:
        return lightly.set_at_index(lightly.repeat_token(2 * t, (3, 4)), index, v)  # no leaf

    assert torch.autograd.gradcheck(function, (token, value))
    assert torch.autograd.gradgradcheck(function, (token, value))
    for needs in ((True, False), (False, True)):
        token.requires_grad_(needs[0]), value.requires_grad_(needs[1])
        assert torch.autograd.gradcheck(function, (token, value))
    token.requires_grad_()
    detached = lightly.set_at_index(lightly.repeat_token(token, (3, 4)).detach(), index, value.detach())
    assert not detached.requires_grad
    with torch.no_grad():
        repeated, view = lightly.repeat_token(token, (3, 4)), token.expand(3, 4, 3)
    assert not repeated.requires_grad
    token.grad = None
    lightly.set_at_index(view, index, value.detach()).sum().backward()
    assert token.grad is None  # torch's own view made without gradients
    assert not lightly.set_at_index(repeated, index, value.detach()).requires_grad
    twice = torch.stack([token.detach()[0, 0], token.detach()[0, 0] + 1]).requires_grad_()
    other = twice[1].expand(3, 4, 3)  # a view of one token of two
    (gradient,) = torch.autograd.grad(lightly.set_at_index(other, index, value).sum(), twice)
    assert gradient.tolist() == [[0.0] * 3, [6.0] * 3]


def test_lightlys_mae_loop():
    """The masked autoencoder of lightly's examples, around a linear encoder and decoder: loss and gradients."""
    theirs = peer("lightly.models.utils")
    patches, size = torch.randn(3, 17, 8), (3, 17)
    keep, mask = lightly.random_token_mask(size, 0.75)

    def loss(module: Any, encoder: Tensor, token: Tensor, decoder: Tensor) -> Tensor:
        encoded = module.get_at_index(patches, keep) @ encoder
        masked = module.set_at_index(module.repeat_token(token, size), keep, encoded.type_as(token))
        predicted = module.get_at_index(masked, mask) @ decoder
        return ((predicted - module.get_at_index(patches[:, 1:], mask - 1)) ** 2).mean()

    parameters = [torch.randn(8, 6), torch.randn(1, 1, 6), torch.randn(6, 8)]
    ours, expected = (with_gradients(lambda *p, m=m: loss(m, *p), *parameters) for m in (lightly, theirs))
    for k, g in zip(ours, expected, strict=True):
        torch.testing.assert_close(k, g)


def test_gradients_of_set_at_index():
    index = torch.tensor([[3, 1], [0, 2]])
    tokens = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    value = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)

    def function(t: Tensor, v: Tensor) -> Tensor:
        return lightly.set_at_index(t, index, v)

    assert torch.autograd.gradcheck(function, (tokens, value))
    assert torch.autograd.gradgradcheck(function, (tokens, value))
    (of_value,) = torch.autograd.grad(function(tokens.detach(), value).sum(), value)
    assert torch.equal(of_value, torch.ones_like(value))


def test_a_place_that_is_set_twice():
    index = torch.tensor([[1, 1]])
    tokens, value = torch.zeros(1, 3, 1), torch.tensor([[[1.0], [2.0]]]).requires_grad_()
    out = lightly.set_at_index(tokens, index, value)
    assert out[0, 1].item() in (1.0, 2.0)
    assert torch.autograd.grad(out.sum(), value)[0].flatten().tolist() == [1.0, 1.0]


def test_compiles_to_one_graph():
    index = torch.rand(4, 10).argsort(1)[:, :3]
    token, value = torch.randn(1, 1, 6), torch.randn(4, 3, 6)

    def function(t: Tensor, v: Tensor) -> Tensor:
        return lightly.set_at_index(lightly.repeat_token(t, (4, 10)), index, v)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for k, g in zip(with_gradients(compiled, token, value), with_gradients(function, token, value), strict=True):
        torch.testing.assert_close(k, g)


TOKENS, INDEX, VALUE = torch.ones(2, 3, 4), torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1, 4)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: lightly.set_at_index([1], INDEX, VALUE), TypeError, "set_at_index: tokens must be a tensor, got list"),
        (
            lambda: lightly.set_at_index(TOKENS[0], INDEX, VALUE),
            ValueError,
            "set_at_index: tokens must have shape (N, L, D), got (3, 4)",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX.int(), VALUE),
            TypeError,
            "set_at_index: index must be an int64 tensor, got torch.int32",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX[:1], VALUE),
            ValueError,
            "set_at_index: index must have shape (N, K) with N = 2, got (1, 1)",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX, VALUE.double()),
            TypeError,
            "set_at_index: value must be torch.float32, like tokens, got torch.float64",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX, VALUE[..., :2]),
            ValueError,
            "set_at_index: value must have shape (2, 1, 4), got (2, 1, 2)",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX, VALUE.to("meta")),
            ValueError,
            "set_at_index: value must be on cpu, like tokens, got meta",
        ),
        (
            lambda: lightly.set_at_index(TOKENS, INDEX + 3, VALUE),
            ValueError,
            "set_at_index: index must be in [0, 2], got 3",
        ),
        (
            lambda: lightly.mask_at_index(TOKENS, [1], VALUE),
            TypeError,
            "mask_at_index: index must be an int64 tensor, got list",
        ),
        (lambda: lightly.mask_bool(TOKENS, None, VALUE), TypeError, "mask_bool: mask must be a tensor, got NoneType"),
        (lambda: lightly.repeat_token(3, (1, 2)), TypeError, "repeat_token: token must be a tensor, got int"),
        (
            lambda: lightly.repeat_token(TOKENS, (1, 2)),
            ValueError,
            "repeat_token: token must have shape (1, 1, D), got (2, 3, 4)",
        ),
        (
            lambda: lightly.repeat_token(TOKENS[:1, :1], 5),
            ValueError,
            "repeat_token: size must be (batch size, sequence length), got 5",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text
