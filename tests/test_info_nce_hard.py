"""Hard negatives of info_nce_loss, (N, K, D), which are read in their own dtype, never widened whole."""

from __future__ import annotations

import pytest
import torch
from loss_oracle import assert_compiles, assert_like_reference, with_grads
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sslfast.losses import _few_pairs, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

N, K, D = 37, 5, 12
NORMALIZE = pytest.mark.parametrize("normalize", [True, False])


def tensors(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    query = torch.randn(N, D, dtype=dtype)
    return [query, query + torch.randn(N, D, dtype=dtype), query.unsqueeze(1) + torch.randn(N, K, D, dtype=dtype)]


def on(normalize: bool):
    return (
        lambda *z: info_nce_loss(*z, normalize=normalize, temperature=0.7),
        lambda *z: reference(*z, normalize=normalize, temperature=0.7).mean(),
    )


@NORMALIZE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_definition(normalize: bool, dtype: torch.dtype) -> None:
    assert_like_reference(*on(normalize), tensors(dtype), factor=64)


@NORMALIZE
def test_gradcheck(normalize: bool) -> None:
    loss, _ = on(normalize)
    inputs = tensors()
    for needed in ([0, 1, 2], [0], [2]):
        for at, z in enumerate(inputs):
            z.requires_grad_(at in needed)
        assert torch.autograd.gradcheck(loss, inputs)


@NORMALIZE
def test_composes(normalize: bool) -> None:
    loss, _ = on(normalize)
    inputs = tensors(torch.float32)
    assert_compiles(loss, *inputs)
    packed = with_grads(loss, *inputs)
    strided = with_grads(loss, *(torch.stack([z, -z], dim=-1)[..., 0] for z in inputs))
    for a, b in zip(packed, strided, strict=True):
        torch.testing.assert_close(a, b)


class WideNumbers(TorchDispatchMode):
    """Records how many numbers the largest float32 tensor has that an operator returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, Tensor) and t.dtype == torch.float32]
        self.largest = max([self.largest, *sizes])
        return out


def test_bf16_is_not_widened_whole() -> None:
    query, keys = torch.randn(2, 2048, 64).bfloat16()
    hard = torch.randn(2048, 16, 64).bfloat16()
    with WideNumbers() as wide:
        with_grads(info_nce_loss, query, keys, hard)
    assert 0 < wide.largest <= hard.numel() / 8


def test_second_derivatives_are_refused() -> None:
    query, keys, hard = tensors()
    hard.requires_grad_()
    (grad,) = torch.autograd.grad(info_nce_loss(query, keys, hard), hard, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_second_derivatives_of_the_temperature_are_right_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", 0)  # tests/test_info_nce_few.py has those of few pairs
    inputs = tensors()
    temperature = torch.tensor(0.5, requires_grad=True)
    found = []
    for function in (reference, info_nce_loss):
        loss = function(*inputs, temperature=temperature).mean()
        (grad,) = torch.autograd.grad(loss, temperature, create_graph=True)
        found.append(torch.autograd.grad(grad, temperature)[0])
    torch.testing.assert_close(*found)
    compiled = torch.compile(lambda t: info_nce_loss(*inputs, temperature=t), backend="eager", fullgraph=True)
    (grad,) = torch.autograd.grad(compiled(temperature), temperature, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives are not supported"):
        torch.autograd.grad(grad, temperature)
