"""Adversarial perturbations of embeddings or pixels, against any loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._inputs import check_floating, not_negative, widened, without_autocast
from sslfast.losses._samples import uniform_rows
from sslfast.random import STREAMS, Generator, check_generator, seed_tensor

_NAME = "AdversarialPerturbation"


class AdversarialPerturbation(nn.Module):
    """Moves samples within a small ball to where a loss is high, for adversarial training: FGSM and PGD.

    Each step, with g the gradient of the loss with respect to x_adv,

    ``"linf"``: ``delta = (delta + step_size * g.sign()).clamp(-epsilon, epsilon)``;
    ``"l2"``: ``delta = delta + step_size * g / |g|``, then ``delta * min(1, epsilon / |delta|)``, sample by sample;

    and ``x_adv = (x + delta).clamp(*clamp)``. One step without a random start is FGSM, several are PGD. First
    derivatives only, so that every loss of sslfast will do; one with a state, such as the center of ``DINOLoss``, is
    moved by every step: attack its function, or a copy of it. A sample whose gradient is 0 stays where it is.

    Args:
        epsilon: radius of the ball around each sample, in the units of x. At least 0.
        norm: ``"linf"``, of each number, or ``"l2"``, of all numbers of a sample. Default: ``"linf"``.
        step_size: length of a step. Default: None, ``epsilon`` for one step, else ``2.5 * epsilon / steps``.
        steps: number of gradients taken. Default: 1.
        random_start: begin at a point uniform in the ball, and not at x. Default: False.
        clamp: the range ``(low, high)`` of valid numbers, which x should be in. Default: None.
        targeted: make the loss low, not high. Default: False.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, or there is no such norm.

    Example:
        >>> attack = AdversarialPerturbation(8 / 255, steps=3, random_start=True, clamp=(0, 1))
        >>> hard = attack(lambda x: criterion(model(x), model(view1)), view0)
        >>> loss = criterion(model(hard), model(view1))

    Reference: Goodfellow et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015; Madry et al., "Towards
    Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; Miyato et al., "Adversarial Training Methods for
    Semi-Supervised Text Classification", ICLR 2017 (l2, on embeddings).
    """

    def __init__(
        self,
        epsilon: float,
        *,
        norm: str = "linf",
        step_size: float | None = None,
        steps: int = 1,
        random_start: bool = False,
        clamp: Sequence[float] | None = None,
        targeted: bool = False,
    ) -> None:
        super().__init__()
        self.epsilon = not_negative(_NAME, "epsilon", epsilon)
        self.norm = _check.one_of(_NAME, "norm", norm, ("linf", "l2"))
        self.steps = _check.integer(_NAME, "steps", steps, 1)
        default = self.epsilon if self.steps == 1 else 2.5 * self.epsilon / self.steps
        self.step_size = default if step_size is None else not_negative(_NAME, "step_size", step_size)
        self.random_start = _check.boolean(_NAME, "random_start", random_start)
        self.clamp = None if clamp is None else _range(clamp)
        self.targeted = _check.boolean(_NAME, "targeted", targeted)

    def forward(
        self, loss_fn: Callable[[Tensor], Tensor], x: Tensor, *, generator: Generator = None, row_offset: int = 0
    ) -> Tensor:
        """:meth:`perturb`."""
        return self.perturb(loss_fn, x, generator=generator, row_offset=row_offset)

    def perturb(
        self, loss_fn: Callable[[Tensor], Tensor], x: Tensor, *, generator: Generator = None, row_offset: int = 0
    ) -> Tensor:
        """The samples, perturbed against a loss.

        Neither ``.grad`` of any tensor, nor train and eval mode, nor grad mode change, which may be off. autocast
        around the call holds for ``loss_fn``. What that draws or does to buffers it does: a model in train mode moves
        its BatchNorm statistics ``steps`` times. Only the direction of a gradient counts, so a loss may be multiplied
        by a large number where float16 would round its gradient to 0.

        Args:
            loss_fn: takes perturbed samples, as x in shape and dtype; returns one number, of which one derivative
                exists.
            x: (N, ...), floating point: embeddings or pixels. Not changed.
            generator: of the random start: None | torch.Generator | int seed | int64 seed tensor. Default: None,
                torch's global generator. Not drawn from without a random start.
            row_offset: global index of sample 0 in the draws, for shards of a larger batch. Default: 0.

        Returns:
            Shape and dtype of x, without a graph; in the ball and in ``clamp``, to rounding.

        Raises:
            TypeError: if ``loss_fn`` is not callable or returns no floating-point tensor, x is not a floating-point
                tensor, or the generator or ``row_offset`` has the wrong type.
            ValueError: if x has no element or no first dimension; ``loss_fn`` returns more than one number, or one
                that does not depend on x; or the generator's device or ``row_offset`` is out of range.
        """
        if not callable(loss_fn):
            raise TypeError(f"{_NAME}: loss_fn must be callable, got {type(loss_fn).__name__}")
        check_floating(_NAME, "x", x)
        if x.dim() == 0 or x.numel() == 0:
            raise ValueError(f"{_NAME}: x must have shape (N, ...) with all sizes >= 1, got {tuple(x.shape)}")
        row_offset = _check.integer(_NAME, "row_offset", row_offset, 0)
        x = x.detach()
        with without_autocast(x), torch.no_grad():
            (origin,) = widened(x)
            delta = self._start(origin, generator, row_offset)
            x_adv = x.clone()
            if delta is not None:
                moved, delta = self._moved(origin, delta)
                x_adv = moved.to(x.dtype)
        for _ in range(self.steps):
            grad = _gradient(loss_fn, x_adv)
            with without_autocast(x), torch.no_grad():
                step = self._step(grad.to(origin.dtype))
                delta = self._projected(step if delta is None else delta.add_(step))
                moved, delta = self._moved(origin, delta)
                x_adv = moved.to(x.dtype)
        return x_adv

    def _start(self, x: Tensor, generator: Generator, row_offset: int) -> Tensor | None:
        """A point in the ball, or None for its centre."""
        if not self.random_start:
            check_generator(generator, function=_NAME, device=x.device)
            return None
        seed = seed_tensor(generator, function=_NAME, device=x.device)
        stream, size = STREAMS["attack_start"], x[0].numel()
        if self.norm == "linf":
            uniform = uniform_rows(x, seed, stream, len(x), size, row_offset)
            return (uniform.to(x.dtype) * 2 - 1).mul_(self.epsilon).view(x.shape)
        # A normal vector has a uniform direction, and the volume within r is as r^size. Box and Muller: two normal
        # numbers of two uniform ones; the last number of a row is the volume.
        pairs = -(-size // 2)
        uniform = uniform_rows(x, seed, stream, len(x), 2 * pairs + 1, row_offset).to(x.dtype)
        radius, angle = (-2 * uniform[:, :pairs].log()).sqrt(), 2 * math.pi * uniform[:, pairs:-1]
        normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :size]
        return (self.epsilon * uniform[:, -1:] ** (1 / size) * _unit(normal)).view(x.shape)

    def _step(self, grad: Tensor) -> Tensor:
        size = -self.step_size if self.targeted else self.step_size
        if self.norm == "linf":
            sign = grad.sign()
            # The sign of NaN is 0. On the CPU a sum tells at once that there is none, and takes a tenth of the passes.
            if not grad.is_cpu or torch.compiler.is_compiling() or not math.isfinite(grad.sum().item()):
                sign = torch.where(grad.isnan(), grad, sign)
            return sign.mul_(size)
        return size * _unit(grad.reshape(len(grad), -1)).view(grad.shape)

    def _projected(self, delta: Tensor) -> Tensor:
        if self.norm == "linf":
            return delta.clamp_(-self.epsilon, self.epsilon)
        rows = delta.reshape(len(delta), -1)
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        factor = (self.epsilon / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1)
        return (rows * factor).view(delta.shape)

    def _moved(self, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """``x + delta`` in the range, and what is left of delta."""
        if self.clamp is None:
            return x + delta, delta
        moved = (x + delta).clamp(*self.clamp)
        return moved, moved - x

    def extra_repr(self) -> str:
        size = f"epsilon={self.epsilon}, norm={self.norm!r}, step_size={self.step_size}, steps={self.steps}"
        return f"{size}, random_start={self.random_start}, clamp={self.clamp}, targeted={self.targeted}"


def _gradient(loss_fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """That of the loss with respect to x, and to nothing else."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone()  # of its own: loss_fn may keep it, and may not change x
        if torch.compiler.is_compiling():
            from sslfast._compiled_autograd import gradients, leaf_of

            leaf = leaf_of(leaf)
        else:
            leaf.requires_grad_()
        loss = loss_fn(leaf)
        check_floating(_NAME, "the result of loss_fn", loss)
        if loss.numel() != 1:
            raise ValueError(f"{_NAME}: loss_fn must return one number, got shape {tuple(loss.shape)}")
        found = None
        if loss.requires_grad:
            with without_autocast(loss):
                total = loss.sum()
                if torch.compiler.is_compiling():
                    (found,) = gradients(_NAME, total, [leaf], torch.ones_like(total), False)
                else:
                    (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if found is None:
        raise ValueError(f"{_NAME}: loss_fn must return a loss that depends on x")
    grad: Tensor = found
    return grad


def _range(clamp: Sequence[float]) -> tuple[float, float]:
    if not isinstance(clamp, (tuple, list)):
        raise TypeError(f"{_NAME}: clamp must be a pair of numbers, got {type(clamp).__name__}")
    if len(clamp) != 2:
        raise ValueError(f"{_NAME}: clamp must be a pair of numbers, got {_check.shown(tuple(clamp))}")
    low, high = (_check.real(_NAME, "clamp", number) for number in clamp)
    if low > high:
        raise ValueError(f"{_NAME}: clamp must be two numbers in order, got {tuple(clamp)}")
    return low, high


def _unit(rows: Tensor) -> Tensor:
    """Rows of norm 1, and 0 for 0: divided by the largest number first, so that no square is lost in float32."""
    tiny = torch.finfo(rows.dtype).tiny
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp_min(tiny)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(tiny)
