"""A generator that a module holds: calls, the workers of a DataLoader and its epochs draw differently, runs repeat."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from sslfast import augment as A

# How each is made of a generator, and what it draws in a call.
MADE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], torch.Tensor]]] = {
    "SimCLRAugment": (lambda g: A.SimCLRAugment(8, generator=g), lambda f: f(images())[0]),
    "MultiView": (
        lambda g: A.MultiView([A.RandomCrop(8)] * 2, generator=g),
        lambda f: f.sample_params(images())[1],
    ),
    "MixUp": (lambda g: A.MixUp(generator=g), lambda f: f(images().float())[0]),
    "CutMix": (lambda g: A.CutMix(generator=g), lambda f: f.sample_params(images().float())),
    "RandomErasing": (lambda g: A.RandomErasing(p=1.0, generator=g), lambda f: f.sample_params(images().float())),
    "AudioAugment": (lambda g: A.AudioAugment(gain_db=(-6, 6), generator=g), lambda f: f(torch.ones(16, 40))),
    "CL4SRecAugment": (lambda g: A.CL4SRecAugment(99, generator=g), lambda f: f(items())[0].ids),
}


def drawing(name: str, generator: Any) -> Callable[[], torch.Tensor]:
    make, draw = MADE[name]
    return functools.partial(draw, make(generator))


def images() -> torch.Tensor:
    return (torch.arange(4 * 3 * 12 * 12) * 7 % 251).to(torch.uint8).view(4, 3, 12, 12)


def items() -> torch.Tensor:
    return torch.arange(1, 81).view(4, 20)


class Collate:
    """Draws once a batch."""

    def __init__(self, draw: Callable[[], torch.Tensor]) -> None:
        self.draw = draw

    def __call__(self, _: list[int]) -> torch.Tensor:
        return self.draw()


def epochs(draw: Callable[[], torch.Tensor], *, seed: int, persistent: bool = False) -> list[torch.Tensor]:
    """Two epochs of two batches from each of two workers."""
    loader = DataLoader(
        range(4),
        batch_size=1,
        num_workers=2,
        collate_fn=Collate(draw),
        persistent_workers=persistent,
        generator=torch.Generator().manual_seed(seed),
        multiprocessing_context="fork",
    )
    return [batch for _ in range(2) for batch in loader]


def distinct(tensors: list[torch.Tensor]) -> int:
    return len({tensor.numpy().tobytes() for tensor in tensors})


@pytest.mark.parametrize("name", MADE)
def test_workers_and_epochs_differ_and_a_run_repeats(name: str) -> None:
    first = epochs(drawing(name, 0), seed=1)
    assert distinct(first) == len(first) == 8
    again = epochs(drawing(name, 0), seed=1)
    assert all(map(torch.equal, first, again))


def test_all_of_it_counts() -> None:
    """The module's seed, the loader's seed, and whether workers go on or start anew."""
    make = functools.partial(drawing, "MultiView")
    runs = [epochs(make(0), seed=1), epochs(make(1), seed=1), epochs(make(0), seed=2)]
    assert distinct([batch for run in runs for batch in run]) == 24
    persistent = epochs(make(0), seed=1, persistent=True)
    assert distinct(persistent) == 8
    assert all(map(torch.equal, persistent[:4], runs[0][:4]))
    assert distinct(epochs(make(None), seed=1)) == 8  # torch's generator, which the loader seeds


def test_the_process_itself_is_left_alone() -> None:
    """Draws of the int's torch.Generator, whatever workers a copy went to."""
    make = functools.partial(drawing, "MultiView")
    alone, beside, other = make(3), make(3), make(torch.Generator().manual_seed(3))
    first = alone()
    assert torch.equal(first, beside())
    assert torch.equal(first, other())
    epochs(beside, seed=1)
    second = alone()
    assert not torch.equal(first, second)
    assert torch.equal(second, beside())


def test_what_is_given_is_not_changed() -> None:
    """A torch.Generator draws the same in every worker, and a seed tensor in every call."""
    make = functools.partial(drawing, "MultiView")
    given = epochs(make(torch.Generator().manual_seed(3)), seed=1)
    assert distinct(given) == 2  # two calls of a worker, which the other and the next epoch repeat
    assert distinct(epochs(make(torch.tensor(3)), seed=1)) == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_go_on_from_where_they_are(duplicate: Callable[[A.MultiView], A.MultiView]) -> None:
    module = A.MultiView([A.RandomCrop(8)], generator=5)
    module.sample_params(images())
    twin = duplicate(module)
    assert torch.equal(module.sample_params(images())[0], twin.sample_params(images())[0])
    draws = epochs(lambda: twin.sample_params(images())[0], seed=1)
    assert distinct(draws) == 8
