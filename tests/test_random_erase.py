"""random_erase: the reference on every backend and in every layout, noise, gradients, torchvision's rule and boxes."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from oracle import all_equal
from peer_oracle import peer
from scipy import stats

from sslfast import host, ops
from sslfast.augment import RandomErasing, erase_boxes, sample_erase
from sslfast.reference import random_erase as reference

# (N, C, H, W) and why
SHAPES = [
    (1, 1, 1, 1),  # no box is smaller
    (5, 3, 16, 18),
    (4, 2, 33, 31),  # lines that are no multiple of a counter's four
    (2, 1, 3, 3000),
    (0, 3, 4, 4),  # nobody
]
VALUES = [0.0, -1.5, (0.25, 1e5, -3.0), "random"]
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("rules", [{}, {"p": 1.0}, {"p": 0.8, "scale": (0.3, 1.0), "ratio": (0.05, 20.0)}])
@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_equal_reference(device, shape, rules):
    rows, _, *size = shape
    for draws in ({}, {"row_offset": 2**40}, {"sample_ids": torch.arange(rows) * 5 + 3}):
        expected = reference.sample_erase(rows, size, **rules, seed=-7, **draws)
        there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in draws.items()}
        params = sample_erase(rows, size, **rules, generator=-7, **there, device=device)
        assert all_equal([params], [expected])
        numbers = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in draws.items()}
        assert np.array_equal(host.sample_erase(rows, size, **rules, seed=-7, **numbers), expected)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_reference(device, shape, value):
    images = torch.randn(shape)
    if isinstance(value, tuple) and shape[1] != 3:
        value = value[: shape[1]]
    params = sample_erase(shape[0], shape[2:], p=0.8, generator=3)
    expected, there = reference.erase_boxes(images, params, value), images.to(device, copy=True)
    out = erase_boxes(there, params.to(device), value)
    assert torch.allclose(out.cpu(), expected, rtol=0, atol=2e-6 if value == "random" else 0)
    assert torch.equal(there.cpu(), images)
    assert erase_boxes(there, params.to(device), value, inplace=True) is there
    assert torch.equal(there, out)
    array = images.numpy().copy()
    assert np.array_equal(host.erase_boxes(array, params.numpy(), value, threads=2), out.cpu())
    assert host.erase_boxes(array, params.numpy(), value, inplace=True, threads=2) is array
    assert np.array_equal(array, out.cpu())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", VALUES)
def test_types_and_layouts(device, dtype, value):
    params = sample_erase(6, (40, 30), p=0.8, generator=4, device=device)
    base = torch.randn(6, 6, 40, 60, device=device).to(dtype)
    last = base[:, :3, :, :30].contiguous(memory_format=torch.channels_last)
    full = reference.erase_boxes(torch.zeros(6, 3, 40, 30, dtype=torch.float64), params.cpu(), value)
    for images in (base[:, 1:4, :, 30:], base[:, ::2, :, ::2], last, base[:, 3:, :, :40].mT[..., :30]):
        expected = reference.erase_boxes(images.cpu(), params.cpu(), value)
        ours = erase_boxes(images, params, value)
        if value == "random":  # rounded once: from a float32 that is within 2e-6
            assert torch.allclose(
                ours.cpu().double(),
                torch.where(full != 0, full, images.cpu().double()),
                rtol=torch.finfo(dtype).eps,
                atol=2e-6,
            )
        else:
            assert torch.equal(ours.cpu(), expected)
        kept = images is last
        assert ours.is_contiguous(memory_format=torch.channels_last if kept else torch.contiguous_format)
        if images.stride(3) == 1 or kept:
            changed = images.clone(memory_format=torch.preserve_format)
            assert torch.equal(erase_boxes(changed, params, value, inplace=True), ours)


def test_memory_larger_than_the_caches():
    """It is written past them."""
    images = torch.randn(12, 3, 300, 400)
    params = sample_erase(12, (300, 400), p=0.8, generator=1)
    assert torch.equal(erase_boxes(images, params, 2.0), reference.erase_boxes(images, params, 2.0))


def test_one_launch_draws_the_same(device):
    images = torch.randn(6, 3, 20, 24, device=device)
    for value in (1.5, "random"):
        for options in ({}, {"row_offset": 7}, {"sample_ids": torch.arange(6, device=device) * 3}):
            transform = RandomErasing(p=0.7, value=value)
            out, params = transform(images, generator=2, return_params=True, **options)
            assert torch.equal(params, transform.sample_params(images, generator=2, **options))
            assert torch.equal(params, sample_erase(6, (20, 24), p=0.7, generator=2, device=device, **options))
            assert torch.equal(out, erase_boxes(images, params, value))
            assert torch.equal(out, transform(images, params=params))
            changed = images.clone()
            inplace = RandomErasing(p=0.7, value=value, inplace=True)
            assert inplace(changed, generator=2, **options) is changed
            assert torch.equal(changed, out)
    whole = sample_erase(6, (20, 24), generator=1)
    assert torch.equal(sample_erase(2, (20, 24), generator=1, row_offset=4), whole[4:])


def test_by_hand(device):
    """Boxes outside are cut, and a key that is not one is as good as any."""
    images = torch.ones(3, 1, 4, 4, device=device)
    rows = [[-1, 2, 99, 99, 0, 0], [1, 1, float("nan"), 2, 0, 0], [0, 3, 1, 5, -5, 1e30]]
    out = erase_boxes(images, torch.tensor(rows, device=device), 0.0)
    assert torch.equal(out[0, 0, :, 2:], torch.zeros(4, 2, device=device))
    assert torch.equal(out[1], images[1])
    assert float(out.sum()) == 8 + 16 + 15
    assert torch.isfinite(erase_boxes(images, torch.tensor(rows, device=device), "random")).all()


def test_what_is_erased_is_never_read(device):
    params = sample_erase(4, (12, 12), p=1.0, generator=1, device=device)
    erased = erase_boxes(torch.zeros(4, 2, 12, 12, device=device), params, 1.0)
    images = torch.where(erased == 1, torch.nan, 5.0).requires_grad_()
    out = erase_boxes(images, params, 0.0)
    assert torch.equal(out, torch.where(erased == 1, 0.0, 5.0))
    (grad,) = torch.autograd.grad(out, images, torch.where(erased == 1, torch.nan, 2.0))
    assert torch.equal(grad, torch.where(erased == 1, 0.0, 2.0))


def test_gradients(device):
    images = torch.randn(3, 2, 6, 5, device=device, dtype=torch.float64, requires_grad=True)
    params = sample_erase(3, (6, 5), p=1.0, generator=1, device=device)
    for value in (0.5, "random"):
        assert torch.autograd.gradcheck(lambda x, v=value: erase_boxes(x, params, v), images, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda x, v=value: erase_boxes(x, params, v), images, fast_mode=True)
    hidden = images * 2  # in place within a graph
    out = erase_boxes(hidden, params, 0.5, inplace=True)
    assert out is hidden
    (ours,) = torch.autograd.grad(out.square().sum(), images)
    (expected,) = torch.autograd.grad(erase_boxes(images * 2, params, 0.5).square().sum(), images)
    assert torch.equal(ours, expected)
    drawn = RandomErasing(p=1.0)(images, generator=1)
    assert torch.equal(drawn, erase_boxes(images, params, 0.0))


# ---- what is drawn


def test_boxes_are_torchvisions():
    v2 = peer("torchvision.transforms.v2")
    transform, like = v2.RandomErasing(p=1.0), torch.zeros(3, 28, 36)
    theirs = [transform.make_params([like]) for _ in range(3000)]
    ours = sample_erase(3000, (28, 36), p=1.0, generator=2)
    for column, key in enumerate("ijhw"):
        other = np.array([found[key] for found in theirs])
        assert stats.ks_2samp(ours[:, column].numpy(), other).pvalue > 1e-3


def test_equals_torchvision(device):
    functional = peer("torchvision.transforms.v2.functional")
    images = torch.randn(8, 3, 28, 36)
    params = sample_erase(8, (28, 36), p=0.8, generator=2)
    values = (0.5, 1.0, -1.0)
    ours = erase_boxes(images.to(device), params.to(device), values)
    for image, mine, row in zip(images, ours.cpu(), params.long().tolist(), strict=True):
        i, j, h, w = row[:4]
        assert torch.equal(mine, functional.erase(image, i, j, h, w, torch.tensor(values)[:, None, None]))


def test_arguments_are_torchvisions():
    v2 = peer("torchvision.transforms.v2")
    mine, others = inspect.signature(RandomErasing).parameters, inspect.signature(v2.RandomErasing).parameters
    assert {n: (mine[n].kind, mine[n].default) for n in others} == {n: (p.kind, p.default) for n, p in others.items()}


def test_share_of_erased_images():
    erased = sample_erase(20000, (32, 32), p=0.3, generator=1)[:, 2] > 0
    assert abs(float(erased.float().mean()) - 0.3) < 0.015
    # A square of the whole area is never smaller than the image.
    assert not sample_erase(50, (32, 32), p=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0), generator=1)[:, 2].any()
    assert not sample_erase(50, (32, 32), p=0.0, generator=1)[:, :4].any()


def test_noise_is_normal():
    """Of unit variance, without correlation between channels, neighbours and images, and never the same twice."""
    params = torch.zeros(2, 6)
    params[:, 2:4] = 200
    params[:, 5] = torch.tensor([1.0, 2.0])
    noise = erase_boxes(torch.full((2, 3, 200, 200), 99.0), params, "random")
    assert stats.kstest(noise.double().flatten().numpy(), "norm").pvalue > 1e-3
    for a, b in (
        (noise[:, 0], noise[:, 1]),
        (noise[0], noise[1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
    ):
        assert abs(float((a * b).mean())) < 5 / a.numel() ** 0.5
        assert abs(float((a.square() * b.square()).mean()) - 1) < 15 / a.numel() ** 0.5
    assert noise[0].unique().numel() > 0.99 * noise[0].numel()
    assert 4 < float(noise.abs().max()) < 5.9


# ---- composition


def test_composes(device):
    images = torch.randn(4, 3, 8, 10, device=device)
    seed = torch.tensor(1)
    rules = (0.8, [0.02, 0.33], [0.3, 3.3], 0)
    torch.library.opcheck(ops.random_erase_params, (images, seed, None, 4, 8, 10, *rules))
    params = ops.random_erase_params(images, seed, None, 4, 8, 10, *rules)
    for x in (images, images.contiguous(memory_format=torch.channels_last), images[..., 2:]):
        torch.library.opcheck(ops.random_erase, (x, seed, None, [0.0], True, *rules))
        torch.library.opcheck(ops.erase_boxes, (x, params, [1.0, 2.0, 3.0], False))
    torch.library.opcheck(ops.random_erase_, (images.clone(), seed, None, [0.5], False, *rules))
    torch.library.opcheck(ops.erase_boxes_, (images.clone(), params, [0.5], True))
    x = images.clone().requires_grad_()
    transform = RandomErasing(value="random")
    call = torch.compile(lambda x: transform(x, generator=5), fullgraph=True)
    ours, expected = call(x), transform(x, generator=5)
    assert torch.equal(ours, expected)
    assert torch.equal(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (ours, expected)))
    inplace = RandomErasing(inplace=True)
    compiled = torch.compile(lambda x: inplace(x, generator=5), fullgraph=True)
    assert torch.equal(compiled(images.clone()), inplace(images.clone(), generator=5))


def test_generators():
    images = torch.ones(6, 1, 9, 9)
    seeded = RandomErasing(p=1.0, generator=3)
    first, second = seeded(images), seeded(images)
    assert not torch.equal(first, second)
    assert torch.equal(RandomErasing(p=1.0, generator=3)(images), first)
    fixed = RandomErasing(p=1.0, generator=torch.tensor(3))
    assert torch.equal(fixed(images), fixed(images))


def test_faces_take_the_same_arguments():
    for ours, theirs in ((sample_erase, host.sample_erase), (erase_boxes, host.erase_boxes)):
        mine, others = (
            [(n, p.kind, p.default) for n, p in inspect.signature(f).parameters.items()] for f in (ours, theirs)
        )
        extra = ("generator", "seed", "device", "threads")
        assert [a for a in mine if a[0] not in extra] == [a for a in others if a[0] not in extra]


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": -1}, ValueError, "rows must be in [0, 16777216], got -1"),
        ({"image_size": (4,)}, ValueError, "image_size must be (height, width), got (4,)"),
        ({"p": 1.5}, ValueError, "p must be a probability in [0, 1], got 1.5"),
        ({"scale": (0.5, 0.2)}, ValueError, "scale must be two numbers in order in [0.0, 1.0], got (0.5, 0.2)"),
        ({"scale": 0.5}, TypeError, "scale must be a pair of numbers, got float"),
        ({"ratio": (0.0, 2.0)}, ValueError, "ratio must be positive, got (0.0, 2.0)"),
        ({"row_offset": 1.0}, TypeError, "row_offset must be an int, got float"),
    ],
)
def test_bad_rules(arguments, error, message):
    options = {"rows": 4, "image_size": (8, 8), **arguments}
    for call, seed in ((sample_erase, "generator"), (host.sample_erase, "seed")):
        with pytest.raises(error) as raised:
            call(**options, **{seed: 1})
        assert str(raised.value) == f"sample_erase: {message}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": [1]}, TypeError, "images must be a tensor, got list"),
        ({"images": torch.ones(3, 4, 4)}, ValueError, "images must have shape (N, C, H, W), got (3, 4, 4)"),
        ({"params": torch.ones(2, 5)}, ValueError, "params must have shape (2, 6), got (2, 5)"),
        ({"value": "noise"}, ValueError, "value must be a number, one per channel, or \"random\", got 'noise'"),
        ({"value": (1.0, 2.0)}, ValueError, "value must have 1 or 3 numbers, one per channel, at most 64, got 2"),
        ({"value": None}, TypeError, "value must be a number, got NoneType"),
        ({"inplace": "yes"}, TypeError, "inplace must be a bool, got 'yes'"),
        (
            {"images": torch.ones(2, 3, 4, 4).mT, "inplace": True},
            ValueError,
            "images must have contiguous lines, or channels last, where inplace, got strides (48, 16, 1, 4)",
        ),
    ],
)
def test_bad_images(arguments, error, message):
    options = {"images": torch.ones(2, 3, 4, 4), "params": torch.zeros(2, 6), **arguments}
    with pytest.raises(error) as raised:
        erase_boxes(**options)
    assert str(raised.value) == f"erase_boxes: {message}"
