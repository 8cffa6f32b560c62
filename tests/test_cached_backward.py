"""cached_backward against the plain step: loss and all gradients."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from towers import DIM, Both, Tower

from sslfast.losses import NTXentLoss, SupConLoss, cached_backward, clip_loss, nt_xent_loss, siglip_loss

N = 11


class Masked(Tower):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x if mask is None else x * mask)


def clip(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return clip_loss(images, texts, scale)


class SigLIP(nn.Module):
    """A loss that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        return siglip_loss(images, texts, self.numbers[0].exp(), self.numbers[1], normalize=True)


def call(encoder: nn.Module, entry: Any, chunk_size: int = 10**6) -> list[Tensor]:
    """The plain way, in chunks only because dropout's draws are those of a chunk."""
    tensors = list(entry.values()) if isinstance(entry, dict) else entry if isinstance(entry, tuple) else [entry]
    found = []
    for start in range(0, len(tensors[0]), chunk_size):
        rows = slice(start, start + chunk_size)
        if isinstance(entry, dict):
            outputs = encoder(**{key: value[rows] for key, value in entry.items()})
        else:
            outputs = encoder(*(value[rows] for value in tensors))
        found.append(outputs if isinstance(outputs, tuple) else (outputs,))
    return [torch.cat(parts) if parts[0].dim() else parts[-1] for parts in zip(*found, strict=True)]


def assert_as_plain(
    loss_fn: Callable[..., Tensor], encoders: Sequence[nn.Module], inputs: Sequence[Any], chunk_size: int
) -> None:
    modules = list({id(m): m for m in (*encoders, loss_fn) if isinstance(m, nn.Module)}.values())
    parameters = [p for module in modules for p in module.parameters()]
    results = []
    for cached in (False, True):
        torch.manual_seed(5)
        for parameter in parameters:
            parameter.grad = None
        if cached:
            loss = cached_backward(loss_fn, encoders, inputs, chunk_size=chunk_size)
        else:
            outputs = [call(*each, chunk_size) for each in zip(encoders, inputs, strict=True)]
            loss = loss_fn(*(output for each in outputs for output in each))
            loss.backward()
        results.append([loss.detach(), torch.rand(1), *(p.grad for p in parameters)])
    assert not loss.requires_grad
    assert len(parameters) > 3
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def views(count: int = 2, rows: int = N) -> list[Tensor]:
    return list(torch.randn(count, rows, DIM, dtype=torch.float64))


@pytest.mark.parametrize("chunk_size", [1, 3, N - 1, N, 100])
def test_two_views_with_dropout(chunk_size: int) -> None:
    tower = Tower(dropout=0.4)
    assert_as_plain(NTXentLoss(0.2), [tower, tower], views(), chunk_size)
    chunks = [min(chunk_size, N - start) for start in range(0, N, chunk_size)]
    assert tower.graphs == 2 * chunks * 2  # the plain way's, then ours


def test_one_encoder_for_all_inputs() -> None:
    tower, (a, b) = Tower(), views()
    loss = cached_backward(NTXentLoss(), tower, (a, b), chunk_size=4)
    torch.testing.assert_close(loss, NTXentLoss()(tower(a), tower(b)))


@pytest.mark.parametrize("chunk_size", [2, 5])
def test_two_towers_and_a_loss_that_learns(chunk_size: int) -> None:
    assert_as_plain(SigLIP(), [Tower(0.2), Tower(0.3)], views(), chunk_size)


def test_inputs_of_every_kind() -> None:
    x, y = views()
    mask = torch.rand(N, 1, dtype=torch.float64).round()
    tower = Masked(0.1)
    assert_as_plain(NTXentLoss(0.2), [tower, tower], [{"mask": mask, "x": x}, (y, mask)], 4)


def test_a_model_of_both_with_its_scale() -> None:
    assert_as_plain(clip, [Both()], [tuple(views())], 4)


def test_entries_of_different_lengths() -> None:
    tower = Tower()
    labels = torch.arange(N + 5) % 3
    inputs = [*views(1), *views(1, 5)]
    assert_as_plain(lambda a, b: SupConLoss(0.3)(torch.cat([a, b]), labels), [tower, tower], inputs, 3)


def test_gradients_of_inputs_and_of_former_steps_are_kept() -> None:
    tower, (a, b) = Tower(), views()
    a.requires_grad_()
    nt_xent_loss(tower(a), tower(b)).backward()
    expected = [2 * z.grad for z in (a, *tower.parameters())]
    cached_backward(nt_xent_loss, tower, [a, b], chunk_size=4)
    for z, grad in zip((a, *tower.parameters()), expected, strict=True):
        torch.testing.assert_close(z.grad, grad, rtol=1e-10, atol=1e-14)


def test_a_frozen_encoder_and_a_stopped_gradient_are_embedded_once() -> None:
    teacher, student = Tower(), Tower()
    teacher.requires_grad_(False)
    cached_backward(nt_xent_loss, [teacher, student], views(), chunk_size=4)
    assert teacher.graphs == [4]  # one chunk shows that there is nothing to do
    assert student.graphs == [4, 4, 3]
    target = Tower()
    cached_backward(lambda a, b: nt_xent_loss(a.detach(), b), [target, student], views(), chunk_size=4)
    assert target.graphs == []


def test_autocast_holds_for_embedding_and_loss_alone() -> None:
    tower = Tower(dtype=torch.float32)
    a, b = (z.float() for z in views())
    grads = []
    for chunk_size in (None, 4):
        tower.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if chunk_size is None:
                loss = nt_xent_loss(tower(a), tower(b), 0.2)
            else:
                seen: list[torch.dtype] = []
                loss = cached_backward(
                    lambda x, y, seen=seen: seen.append(x.dtype) or nt_xent_loss(x, y, 0.2), tower, [a, b], chunk_size=4
                )
                assert seen == [torch.bfloat16]
        if chunk_size is None:
            loss.backward()
        grads.append([p.grad.clone() for p in tower.parameters()])
    for found, expected in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02 * expected.abs().max().item())


def test_scaler() -> None:
    class Scaler:
        def scale(self, loss: Tensor) -> Tensor:
            return 128 * loss

    tower, inputs = Tower(), views()
    loss = cached_backward(nt_xent_loss, tower, inputs, chunk_size=4)
    grads = [128 * p.grad for p in tower.parameters()]
    tower.zero_grad()
    assert cached_backward(nt_xent_loss, tower, inputs, chunk_size=4, scaler=Scaler()) == loss
    for parameter, grad in zip(tower.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-12, atol=0)


def test_no_sync_of_the_caller_is_for_all_chunks_but_the_last() -> None:
    events: list[str] = []

    @contextmanager
    def no_sync():
        events.append("quiet")
        yield
        events.append("end")

    tower = Tower()
    cached_backward(nt_xent_loss, lambda x: events.append("embed") or tower(x), views(), chunk_size=6, no_sync=no_sync)
    assert events == 4 * ["embed"] + 3 * ["quiet", "embed", "end"] + ["embed"]


TOWER = nn.Linear(3, 2)
X = torch.ones(4, 3)


def loss_of(*embeddings: Tensor) -> Tensor:
    return sum(z.square().mean() for z in embeddings)  # type: ignore[return-value]


LENGTHS = "inputs[0] must have tensors of (N, ...) with one N >= 1, got"
BAD: list[tuple[tuple[Any, Any, Any], dict[str, Any], type[Exception], str]] = [
    ((loss_of, TOWER, [X]), {"chunk_size": 0}, ValueError, "chunk_size must be at least 1, got 0"),
    ((loss_of, TOWER, [X]), {"chunk_size": 2.0}, TypeError, "chunk_size must be an int, got float"),
    ((3, TOWER, [X]), {}, TypeError, "loss_fn must be callable, got int"),
    ((loss_of, TOWER, [X]), {"no_sync": True}, TypeError, "no_sync must be callable, got bool"),
    (
        (loss_of, TOWER, [X]),
        {"no_sync": lambda: None, "chunk_size": 1},
        TypeError,
        "no_sync must give a context manager, got NoneType",
    ),
    ((loss_of, TOWER, [X]), {"scaler": 2.0}, TypeError, "scaler must have a method scale, got float"),
    ((loss_of, "model", [X]), {}, TypeError, "encoders must be callable, got str"),
    ((loss_of, [TOWER, None], [X, X]), {}, TypeError, "encoders[1] must be callable, got NoneType"),
    ((loss_of, [TOWER], [X, X]), {}, ValueError, "encoders must be one or 2, as many as inputs, got 1"),
    ((loss_of, TOWER, X), {}, TypeError, "inputs must be a list or a tuple, got Tensor"),
    ((loss_of, TOWER, []), {}, ValueError, "inputs must have at least one entry, got none"),
    (
        (loss_of, TOWER, [X, 1]),
        {},
        TypeError,
        "inputs[1] must be a tensor, or a tuple or a mapping of tensors, got int",
    ),
    ((loss_of, TOWER, [{"x": [1.0]}]), {}, TypeError, "inputs[0]['x'] must be a tensor, got list"),
    ((loss_of, TOWER, [(X, X[:2])]), {}, ValueError, f"{LENGTHS} [(4, 3), (2, 3)]"),
    ((loss_of, TOWER, [X[:0]]), {}, ValueError, f"{LENGTHS} [(0, 3)]"),
    ((loss_of, TOWER, [X.sum()]), {}, ValueError, f"{LENGTHS} [()]"),
    ((loss_of, TOWER, [()]), {}, ValueError, f"{LENGTHS} []"),
    (
        (loss_of, [dict], [{"x": X}]),
        {},
        TypeError,
        "encoders[0] must return a floating-point tensor or a tuple of them, got dict",
    ),
    (
        (loss_of, torch.Tensor.long, [X]),
        {},
        TypeError,
        "encoders must return a floating-point tensor or a tuple of them, got torch.int64",
    ),
    (
        (loss_of, lambda x: x.mean(dim=0), [X]),
        {},
        ValueError,
        "encoders must return (2, ...) for 2 samples, got (3,)",
    ),
    ((lambda z: 1.0, TOWER, [X]), {}, TypeError, "loss_fn must return a tensor, got float"),
    ((lambda z: z.mean(dim=1), TOWER, [X]), {}, ValueError, "loss_fn must return one number, got shape (4,)"),
    ((lambda z: z.detach().mean(), TOWER, [X]), {}, ValueError, "loss_fn must return a loss that requires a gradient"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: tuple[Any, Any, Any], kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"cached_backward: {text}") + "$"):
        cached_backward(*args, **{"chunk_size": 2, **kwargs})
