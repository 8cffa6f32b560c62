"""What the tests of several losses check in the same way, beside tests/oracle.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from oracle import assert_no_worse
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Loss = Callable[..., Tensor]


def with_grads(function: Loss, *inputs: Tensor) -> list[Tensor]:
    """The loss and its gradients in all inputs, whose strides are kept."""
    leaves = [z.detach().requires_grad_() for z in inputs]
    loss = function(*leaves)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def assert_like_reference(
    ours: Loss,
    reference: Loss,
    inputs: Sequence[Tensor],
    device: torch.device | str = "cpu",
    *,
    factor: float = 8.0,
) -> None:
    """Loss and gradients are no worse than the reference's in the same dtype.

    The allowance is ``factor`` units of rounding, of 1 or the loss and of 0.01 or the gradient's largest element.
    """
    found = with_grads(ours, *(z.to(device) for z in inputs))
    same = with_grads(reference, *inputs)
    truth = with_grads(reference, *(z.double() for z in inputs))
    for f, r, g in zip(found, same, truth, strict=True):
        scale = max(0.01 if g.dim() else 1.0, g.abs().max().item())
        assert_no_worse(f, r, g, factor * torch.finfo(f.dtype).eps * scale)


def assert_half_is_like_reference(
    ours: Loss,
    reference: Loss,
    inputs: Sequence[Tensor],
    device: torch.device | str = "cpu",
    *,
    slack: float = 0.0,
    floor: float = 0.0,
) -> None:
    """Of half-precision inputs the loss is float32 and nearly exact; the gradients are rounded once, at the end.

    Where weights are rounded for a product, every element may be off by ``slack`` steps of the largest, too, and by
    ``floor`` where the terms of a gradient cancel.
    """
    found = with_grads(ours, *(z.to(device) for z in inputs))
    truth = with_grads(reference, *(z.double() for z in inputs))
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].cpu().double(), truth[0], rtol=1e-5, atol=1e-6)
    for f, g, z in zip(found[1:], truth[1:], inputs, strict=True):
        assert f.dtype == z.dtype
        eps = torch.finfo(z.dtype).eps
        step = torch.finfo(z.dtype).smallest_normal * eps  # between subnormal numbers
        allowed = (0.51 * eps * g.abs()).clamp_min(step) + (1e-5 + slack * eps) * g.abs().max() + floor
        assert ((f.cpu().double() - g).abs() <= allowed).all()


def assert_has_values_of(theirs: Loss, ours: Loss, inputs: Sequence[Tensor]) -> None:
    """Loss and gradients are those of a peer, to float64's rounding; a peer's loss may have shape (1,)."""
    assert all(z.dtype == torch.float64 for z in inputs)
    expected = with_grads(lambda *z: theirs(*z).squeeze(), *inputs)
    for f, g in zip(with_grads(ours, *inputs), expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-11, atol=1e-13)


def assert_has_signature_of(theirs: Any, ours: Any) -> None:
    """The same parameters in the same order, with the same defaults; after them ours may have more, keyword-only."""
    for method in ("__init__", "forward"):
        (a, b) = (list(inspect.signature(getattr(cls, method)).parameters.values()) for cls in (ours, theirs))
        assert [(p.name, p.default) for p in a[: len(b)]] == [(p.name, p.default) for p in b]
        assert all(p.kind is p.KEYWORD_ONLY for p in a[len(b) :])


def assert_steady(function: Loss, *inputs: Tensor) -> None:
    """Autocast around forward and backward, and checkpointing, change no bit of loss or gradients."""
    plain = with_grads(function, *inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = with_grads(function, *inputs)
    checkpointed = with_grads(lambda *z: torch.utils.checkpoint.checkpoint(function, *z, use_reentrant=False), *inputs)
    for a, b, c in zip(plain, under, checkpointed, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def assert_takes_strides_and_mixed_dtypes(function: Loss, *inputs: Tensor) -> None:
    """Transposed and strided inputs give the loss and the gradients of packed ones; one float64 input makes float64."""
    packed = with_grads(function, *inputs)
    transposed = with_grads(function, *(z.T.contiguous().T for z in inputs))
    strided = with_grads(function, *(torch.stack([z, -z], dim=-1).flatten(-2)[..., ::2] for z in inputs))
    for other in (transposed, strided):
        for a, b in zip(packed, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for at in range(len(inputs)):
        wide = [z.double() if k == at else z for k, z in enumerate(inputs)]
        mixed, truth = with_grads(function, *wide), with_grads(function, *(z.double() for z in inputs))
        assert [a.dtype for a in mixed] == [torch.float64, *(z.dtype for z in wide)]
        torch.testing.assert_close(mixed[0], truth[0], rtol=1e-12, atol=1e-13)
        for a, b in zip(mixed[1:], truth[1:], strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


def assert_compiles(function: Loss, *inputs: Tensor) -> None:
    """In one graph, with the same loss and gradients."""
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for f, g in zip(with_grads(compiled, *inputs), with_grads(function, *inputs), strict=True):
        torch.testing.assert_close(f, g)


class Largest(TorchDispatchMode):
    """Records the size in elements of the largest tensor that an operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.untyped_storage().nbytes() // t.element_size() for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.numel = max([self.numel, *sizes])
        return out


def largest_tensor(function: Loss, *inputs: Tensor) -> int:
    """Elements of the largest tensor that the loss and its gradients make."""
    with Largest() as largest:
        with_grads(function, *inputs)
    return largest.numel
