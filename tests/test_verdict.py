"""What ranks compare of their options, and whose options those around a loss are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from sslfast._verdict import OptionsAround, described, named, spelled, spelled_scales


def test_options_are_spelled_by_value() -> None:
    assert spelled(margin=-0.0, weights=(1.0, -0.0)) == spelled(margin=0.0, weights=(1.0, 0.0))
    assert spelled(margin=-0.1) != spelled(margin=0.1)
    assert spelled(dims=(2,), name="mean", margin=None) == {"dims": "(2,)", "name": "'mean'", "margin": "None"}


def test_tensors_are_spelled_by_what_they_are() -> None:
    learned = torch.zeros(1, requires_grad=True)
    assert spelled(queue=torch.ones(2, 3), z=learned) == {
        "queue": "a 2-d tensor",
        "z": "a 1-d tensor that takes a gradient",
    }
    with torch.no_grad():
        assert spelled(z=learned) == {"z": "a 1-d tensor"}


def test_the_shape_of_a_scale_makes_no_difference() -> None:
    learned = torch.ones(1, requires_grad=True)
    shapes = [spelled_scales(bias=learned.reshape(shape)) for shape in ((), (1,), (1, 1))]
    assert shapes == [{"bias": "a tensor that takes a gradient"}] * 3
    assert spelled_scales(bias=learned.detach()) == {"bias": "a tensor"}
    assert spelled_scales(bias=-0.0) == {"bias": "0.0"}


def test_contexts_in_each_other_both_count() -> None:
    alone = named("f", {})
    with OptionsAround(dims=(2, 4)):
        with OptionsAround(dims=(2,), size=3):
            inside = named("f", {"margin": "0.0"})
        assert named("f", {}) == {"dims": "(2, 4)", "the loss": "f"}
    assert inside == {"dims": "(2, 4) around (2,)", "size": "3", "the loss": "f", "margin": "0.0"}
    assert described(inside)[1] != described(alone)[1]
    assert named("f", {}) == alone == {"the loss": "f"}


def test_options_around_are_those_of_the_thread() -> None:
    """Two threads are in contexts of their own at once, and the one that came first leaves first."""
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> list[dict[str, str]]:
        with OptionsAround(dims=1):
            first_is_in.set()
            assert second_is_in.wait(60)
            inside = named("f", {})
        after = named("f", {})
        first_is_out.set()
        return [inside, after]

    def second() -> list[dict[str, str]]:
        assert first_is_in.wait(60)
        before = named("g", {})
        with OptionsAround(size=2):
            second_is_in.set()
            assert first_is_out.wait(60)
            inside = named("g", {})
        return [before, inside, named("g", {})]

    with ThreadPoolExecutor(2) as threads:
        of_first, of_second = (thread.result() for thread in [threads.submit(first), threads.submit(second)])
    assert of_first == [{"dims": "1", "the loss": "f"}, {"the loss": "f"}]
    assert of_second == [{"the loss": "g"}, {"size": "2", "the loss": "g"}, {"the loss": "g"}]
