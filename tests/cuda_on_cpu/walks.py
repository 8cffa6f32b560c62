"""Views that wait, by the kernel that walks over them: the same bits whether blocks have views of their own or share
them, and whatever number is made at once. tests/test_image_augment_walk.py compares them with the CPU's.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos
from on_cpu import launches
from test_image_augment_walk import LISTS

from sslfast import augment as A


@pytest.mark.parametrize("name", LISTS)
def test_shared_views_are_the_same(monkeypatch, name):
    """Of 2 blocks each has views of its own; of 18 three share one."""
    torch.manual_seed(1)
    images = photos(5, 3, 41, 54)
    transform = A.Compose([*LISTS[name](), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "1")
    alone = transform.apply_params(images, params)
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "9")
    assert torch.equal(transform.apply_params(images, params), alone)
    assert torch.equal(transform.apply_params(images[:1], params[:1]), alone[:1])  # by more blocks


def test_fewer_multiprocessors_than_the_gpu_says(monkeypatch):
    """Blocks that cannot all be there at once do not share views."""
    images = photos(3, 3, 41, 54)
    transform = A.Compose([A.RandomEqualize(1.0), A.RandomAffine(20), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "9")
    together = transform.apply_params(images, params)
    monkeypatch.setenv("CUDA_ON_CPU_PART", "4")
    assert torch.equal(transform.apply_params(images, params), together)


def test_views_of_which_two_do_not_fit(monkeypatch):
    """Half a GiB holds one of them: a block makes one after the other, or four share one after the other."""
    images = photos(2, 3, 9, 7)
    steps = [A.RandomAdjustSharpness(2.0, 1.0), A.RandomEqualize(1.0), A.ToDtype(torch.uint8)]
    transform = A.Compose([A.Resize((3350, 3350), interpolation="nearest"), *steps])
    params = transform.sample_params(images, generator=5)
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "1")
    alone = transform.apply_params(images, params)
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "2")
    before = launches()
    together = transform.apply_params(images, params)
    assert launches() - before == 1
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])
