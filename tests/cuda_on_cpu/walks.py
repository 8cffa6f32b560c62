"""Views that wait, by the kernel that walks over them: the same bits whether blocks have views of their own or share
them, and whatever number is made at once. tests/test_image_augment_walk.py compares them with the CPU's.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos
from on_cpu import launches
from test_image_augment_walk import LISTS, WITHOUT_COLOURS

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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("name", WITHOUT_COLOURS)
def test_channels_by_fours_are_the_same(monkeypatch, name, channels, layout):
    """As the CPU's arrays and as each channel alone, by one launch, with blocks of their own and shared ones."""
    torch.manual_seed(1)
    images = photos(3, channels, 41, 54).contiguous(memory_format=layout)
    transform = A.Compose([*WITHOUT_COLOURS[name](), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    want = torch.from_numpy(transform.host().apply_params(images.numpy(), params.numpy(), layout="NCHW"))
    views = []
    for processors in ("1", "9"):
        monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", processors)
        before = launches()
        views.append(transform.apply_params(images, params))
        assert launches() - before == 1
        assert views[-1].stride() == want.contiguous(memory_format=layout).stride()
    assert torch.equal(*views)
    alone = [transform.apply_params(images[:, c : c + 1], params) for c in range(channels)]
    for other in (want, torch.cat(alone, 1)):
        assert ((views[0] - other).abs() > 2e-5).double().mean() < 2e-3


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
