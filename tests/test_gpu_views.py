"""The recipes' benchmarks for GPUs, as far as a machine without one can tell: their floors, and a run on the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from peer_oracle import peer

from benchmarks import bench_view_recipes, gpu_views, view_peers
from benchmarks.harness import Case, Plan, measure
from benchmarks.view_peers import make_inputs
from sslfast import augment as A

CASES = [case for case in bench_view_recipes.cases() if case.devices == ("cuda",)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_runs_on_few_images(case: Case) -> None:
    """Every provider takes a batch where it lies, and gives views of our shapes, type and brightness."""
    peer("torchvision.transforms.v2")
    peer("kornia.augmentation")
    plan = Plan(budget=0.0, least_rounds=1, most_rounds=1, least_sample=0.0)
    rows_of_it = 48 if case.op == "simclr_augment" else 6  # brightness differs most between its views
    small = replace(case, make_inputs=partial(make_inputs, rows=rows_of_it, side=32, size=224))
    rows = measure(small, torch.device("cpu"), plan=plan)
    assert {row.provider: (row.status, row.note) for row in rows} == dict.fromkeys(case.providers, ("ok", ""))


def test_the_recipes_that_are_there() -> None:
    assert [(case.op, case.size, case.dtype) for case in CASES] == [
        ("simclr_augment", "256 of 256, 2 views", "uint8 to bf16"),
        ("dino_augment", "64 of 256, 10 views", "uint8 to bf16"),
        ("rand_augment", "256 of 256", "uint8 to bf16"),
    ]


@pytest.mark.parametrize(
    ("recipe", "views"), [(A.SimCLRAugment(), gpu_views.SIMCLR), (A.DINOAugment(), gpu_views.DINO)]
)
def test_the_peers_are_asked_for_what_we_do(recipe: A.MultiView, views: list[gpu_views.View]) -> None:
    """Sizes, boxes, kernels and probabilities of every view are those of our recipe."""
    for transform, view in zip(recipe.transforms, views, strict=True):
        steps = {type(step).__name__: step for step in transform.transforms}
        crop, jitter, blur = steps["RandomResizedCrop"], steps["ColorJitter"], steps["GaussianBlur"]
        assert (crop.size, crop.scale, crop.interpolation) == ((view.size,) * 2, view.scale, view.interpolation)
        assert (blur.kernel_size, blur.p, blur.sigma) == (view.kernel, view.blur, view_peers.SIGMA)
        for strength, pair in zip(
            view.jitter[:3], (jitter.brightness, jitter.contrast, jitter.saturation), strict=True
        ):
            assert pair == pytest.approx((1 - strength, 1 + strength))
        assert jitter.hue == (-view.jitter[3], view.jitter[3])
        assert jitter.p == view_peers.JITTER
        assert getattr(steps.get("RandomSolarize"), "p", 0.0) == view.solarize


def test_floor() -> None:
    """SimCLR's view of a 256 x 256 image: 0.54 of it read, 224 x 224 values of two bytes written, three channels."""
    assert gpu_views.SIMCLR[0].bytes_of(256) == pytest.approx(3 * (0.54 * 65536 + 2 * 50176))
