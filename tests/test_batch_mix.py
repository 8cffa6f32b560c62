"""batch_mix: the reference on every backend and in every layout, in place and not, gradients."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from oracle import all_equal, assert_no_worse

from sslfast import host, ops
from sslfast.augment import CutMix, MixedLabels, MixUp, RandomMix, mix_images, mix_labels, sample_mix
from sslfast.random import STREAMS
from sslfast.reference import batch_mix as reference
from sslfast.reference.random_order import random_order

# How, and why it is there
RULES = [
    {},
    {"mixup_alpha": 0.2, "mode": "elem"},
    {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
    {"mixup_alpha": 0.0, "cutmix_alpha": 0.5, "mode": "elem", "prob": 0.7},  # some images stay
    {"cutmix_alpha": 1.0, "mode": "pair", "partner": "flip", "box": "timm"},
    {"cutmix_alpha": 3.0, "mode": "elem", "partner": "flip", "box": "timm", "correct_lam": False, "switch_prob": 0.3},
    {"cutmix_minmax": (0.2, 0.8), "mode": "elem"},
    {"cutmix_minmax": (0.5, 0.5), "mixup_alpha": 0.0},  # one length of a side
]
# (N, C, H, W) and why
SHAPES = [
    (1, 1, 1, 1),  # its own partner, one pixel
    (2, 3, 5, 7),
    (5, 3, 16, 16),  # odd: the middle one is mirrored to itself
    (4, 2, 70, 40),  # more than one band of lines in float64
    (3, 1, 3, 5000),  # lines longer than a piece
    (0, 3, 4, 4),  # nobody
]
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def arrays(arguments):
    return {k: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_reference(device, shape, rules):
    rows, _, *size = shape
    images = torch.randn(shape)
    for draws in ({}, {"row_offset": 2**40}, {"sample_ids": torch.arange(rows) * 5 + 3}):
        expected = reference.sample_mix(rows, size, **rules, seed=-7, **draws)
        there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in draws.items()}
        params = sample_mix(rows, size, **rules, generator=-7, **there, device=device)
        assert all_equal([params], [expected])
        assert np.array_equal(host.sample_mix(rows, size, **rules, seed=-7, **arrays(draws)), expected)
    mixed = reference.mix_images(images, expected)
    assert all_equal([mix_images(images.to(device), params)], [mixed])
    changed = images.to(device, copy=True)
    assert mix_images(changed, params, inplace=True) is changed
    assert all_equal([changed], [mixed])
    array = images.numpy().copy()
    assert np.array_equal(host.mix_images(array, expected.numpy(), threads=2), mixed)
    assert host.mix_images(array, expected.numpy(), inplace=True, threads=2) is array
    assert np.array_equal(array, mixed)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("partner", ["roll", "flip", "permutation"])
def test_types_and_layouts(device, dtype, partner):
    params = sample_mix(6, (40, 32), cutmix_alpha=1.0, mode="elem", partner=partner, generator=4, device=device)
    base = torch.randn(6, 5, 40, 64, device=device).to(dtype)
    last = base[:, :3, :, :32].contiguous(memory_format=torch.channels_last)
    for images in (
        base[:, :4, :, :32],
        base[:, 1:, :, 32:],
        base[..., ::2],
        base[:, ::2, :, 1::2],
        last,
        base[..., :40].mT[..., :32],
    ):
        truth = reference.mix_images(images.cpu().double(), params.cpu())
        ours = mix_images(images, params)
        assert_no_worse(ours.cpu(), reference.mix_images(images.cpu(), params.cpu()), truth, 1e-6)
        kept = images is last
        assert ours.is_contiguous(memory_format=torch.channels_last if kept else torch.contiguous_format)
        if images.stride(3) == 1 or kept:
            changed = images.clone(memory_format=torch.preserve_format)
            assert torch.equal(mix_images(changed, params, inplace=True), ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_larger_than_the_caches(dtype):
    """It is written past them, in pieces of a line."""
    images = torch.randn(10, 3, 300, 1100).to(dtype)
    params = sample_mix(10, (300, 1100), cutmix_alpha=1.0, mode="elem", prob=0.8, generator=1)
    assert sorted(params[:, 0].unique().tolist()) == [0, 1, 2]
    expected = mix_images(images, params)
    changed = images.clone()
    assert torch.equal(mix_images(changed, params, inplace=True), expected)
    if dtype == torch.float32:
        assert torch.equal(expected, reference.mix_images(images, params))


def test_permutations_in_place(device):
    """Cycles of many lengths, and images that are their own partners."""
    images = torch.randn(40, 2, 9, 33, device=device)
    for seed in range(20):
        params = sample_mix(40, (9, 33), cutmix_alpha=1.0, mode="elem", partner="permutation", generator=seed)
        assert torch.equal(params[:, 1], random_order(40, seed, STREAMS["mix_order"], 0).float())
        params = params.to(device)
        expected = mix_images(images, params)
        assert torch.equal(mix_images(images.clone(), params, inplace=True), expected)


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (4, 3, 9, 33), (3, 1, 3, 5000)])
@pytest.mark.parametrize("partner", ["roll", "permutation"])
def test_bytes(device, shape, partner):
    """As the same numbers in floats, in both layouts, in place, and over NumPy arrays."""
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    rules = {"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "mode": "elem", "prob": 0.8, "partner": partner}
    params = sample_mix(shape[0], shape[2:], **rules, generator=2, device=device)
    expected = mix_images(images.float(), params).byte()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        batch = images.contiguous(memory_format=memory_format)
        assert torch.equal(mix_images(batch, params), expected)
        assert mix_images(batch, params).stride() == batch.stride()
        assert torch.equal(mix_images(batch.clone(), params, inplace=True), expected)
    array = images.cpu().numpy()
    assert np.array_equal(host.mix_images(array, params.cpu().numpy()), expected.cpu())
    assert np.array_equal(host.mix_images(array, params.cpu().numpy(), inplace=True), expected.cpu())


@pytest.mark.parametrize("partner", ["roll", "permutation"])
def test_bytes_are_blended_and_rounded(device, partner):
    """The nearest byte of the blend in float32, in both layouts, in place, over NumPy arrays and by the classes."""
    images = torch.randint(0, 256, (5, 3, 16, 33), dtype=torch.uint8, device=device)
    params = sample_mix(5, (16, 33), mode="elem", prob=0.8, partner=partner, generator=2, device=device)
    expected = (mix_images(images.float(), params) + 0.5).floor().byte()
    assert 0 < int((expected != images).flatten(1).any(1).sum()) <= 5
    for memory_format in (torch.contiguous_format, torch.channels_last):
        batch = images.contiguous(memory_format=memory_format)
        assert torch.equal(mix_images(batch, params), expected)
        assert torch.equal(mix_images(batch.clone(memory_format=memory_format), params, inplace=True), expected)
    for inplace in (False, True):
        array = images.cpu().numpy().copy()
        assert np.array_equal(host.mix_images(array, params.cpu().numpy(), inplace=inplace), expected.cpu())
    for transform in (MixUp(), CutMix(), RandomMix(cutmix_alpha=1.0)):
        assert torch.equal(transform(images, params=params)[0], expected)
    drawn, _, params = MixUp()(images, generator=1, return_params=True)
    assert torch.equal(drawn, mix_images(images, params))


def test_blends_of_bytes_by_hand(device):
    """Halves go up, and what parameters by hand lead out of [0, 255] stays at its ends; NaN is 0."""
    images = torch.tensor([1, 2, 0, 255], dtype=torch.uint8, device=device).view(2, 1, 1, 2)
    for lam, rows in ((0.5, [[1, 129], [1, 129]]), (2.0, [[2, 0], [0, 255]]), (float("nan"), [[0, 0], [0, 0]])):
        params = torch.tensor([[1, 1, lam, 0, 0, 0, 0], [1, 0, lam, 0, 0, 0, 0]], device=device)
        assert mix_images(images, params).view(2, 2).tolist() == rows


def test_by_hand(device):
    """Any partner goes out of place; boxes and partners outside are cut."""
    images = torch.randn(4, 3, 8, 8, device=device)
    rows = [[2, 3, 1, -3, 6, 5, 99], [1, 3, 0.25, 0, 0, 0, 0], [0, 3, 0.5, 1, 1, 2, 2], [2, 99, 0.5, 2, 2, math.nan, 3]]
    params = torch.tensor(rows, device=device)
    out = mix_images(images, params)
    assert torch.equal(out[0, :, :5, 6:], images[3, :, :5, 6:])
    assert torch.equal(out[0, :, 5:], images[0, :, 5:])
    assert torch.equal(out[1], images[3] * 0.75 + images[1] * 0.25)
    assert torch.equal(out[2:], images[2:])
    images.requires_grad_()
    (grad,) = torch.autograd.grad(
        (mix_images(images, params) * torch.arange(4.0, device=device)[:, None, None, None]).sum(), images
    )
    assert torch.equal(grad[1], torch.full_like(grad[1], 0.25))
    assert torch.equal(grad[3, :, 5:], torch.full_like(grad[3, :, 5:], 3.75))
    assert torch.equal(grad[0, :, :5, 6:], torch.zeros_like(grad[0, :, :5, 6:]))


def test_unused_pixels_are_never_multiplied(device):
    images = torch.ones(3, 1, 6, 6, device=device)
    params = torch.tensor([[2, 1, 1, 0, 0, 6, 3], [0, 0, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0]], device=device).float()
    images[0, :, :, :3] = torch.nan
    images[1, :, :, 3:] = torch.inf
    assert torch.equal(mix_images(images, params)[0], torch.ones_like(images[0]))
    images = torch.ones(3, 1, 6, 6, device=device, requires_grad=True)
    grad = torch.ones_like(images)
    grad[0, :, :, :3] = torch.nan
    (ours,) = torch.autograd.grad(mix_images(images, params), images, grad)
    assert not ours[0].isnan().any()
    assert ours[1, :, :, :3].isnan().all()


# ---- gradients


@pytest.mark.parametrize("rules", RULES)
def test_gradients(device, rules):
    partner = {"partner": "permutation"} if rules.get("mode") != "pair" else {}
    params = sample_mix(5, (6, 4), **{**rules, **partner}, generator=3, device=device)
    images = torch.randn(5, 2, 6, 4, device=device, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mix_images(x, params), images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: mix_images(x, params), images, fast_mode=True)
    for dtype in TYPES:
        x = images.detach().to(dtype).requires_grad_()
        grad = torch.randn(5, 2, 4, 6, device=device).to(dtype).mT
        (ours,) = torch.autograd.grad(mix_images(x, params), x, grad)
        plain, exact = x.detach().cpu().requires_grad_(), x.detach().cpu().double().requires_grad_()
        (same,) = torch.autograd.grad(reference.mix_images(plain, params.cpu()), plain, grad.cpu())
        (truth,) = torch.autograd.grad(reference.mix_images(exact, params.cpu()), exact, grad.cpu().double())
        assert_no_worse(ours.cpu(), same, truth, torch.finfo(dtype).eps)


# ---- labels


def test_labels(device):
    params = sample_mix(5, (8, 8), mode="elem", generator=1, device=device)
    lam, partners = params[:, 2], params[:, 1].long()
    ids = torch.tensor([0, 2, 2, 1, 3], device=device)
    mixed = mix_labels(ids, params)
    assert isinstance(mixed, MixedLabels)
    assert all_equal(mixed, (ids, ids[partners], lam))
    assert all_equal(mix_labels(None, params), (torch.arange(5, device=device), partners, lam))
    soft = torch.nn.functional.one_hot(ids, 4).float()
    expected = soft * lam[:, None] + soft[partners] * (1 - lam[:, None])
    assert torch.allclose(mix_labels(ids, params, num_classes=4), expected)
    assert torch.allclose(mix_labels(soft, params), expected)
    assert mix_labels(soft.double(), params).dtype == torch.float64
    smooth = torch.nn.functional.cross_entropy  # its label_smoothing is the same
    logits = torch.randn(5, 4, device=device)
    ours = smooth(logits, mix_labels(ids, params, num_classes=4, label_smoothing=0.1))
    assert torch.allclose(ours, smooth(logits, expected, label_smoothing=0.1))


# ---- composition


def test_composes(device):
    images = torch.randn(4, 3, 8, 8, device=device)
    seed = torch.tensor(1)
    rules = (2, 2, 1.0, 1.0, 1.0, 0.5, 0, 0.0, 0.0, True)
    torch.library.opcheck(ops.batch_mix_params, (images, seed, None, 4, 8, 8, *rules, 0))
    params = ops.batch_mix_params(images, seed, None, 4, 8, 8, *rules, 0)
    for x in (images, images.contiguous(memory_format=torch.channels_last), images[..., 2:]):
        torch.library.opcheck(ops.batch_mix, (x, params[:, :]))
    torch.library.opcheck(ops.batch_mix_, (images.clone(), params))
    torch.library.opcheck(ops.mix_targets, (torch.arange(4, device=device), params, 5, 0.1))
    users, starts = params[:, 1].long().argsort(), torch.arange(5, device=device)
    torch.library.opcheck(ops.batch_mix_backward, (images, params, users, starts))
    for transform in (MixUp(num_classes=9), RandomMix(1.0, 1.0, mode="elem", partner="permutation")):
        labels = torch.arange(4, device=device)
        x = images.clone().requires_grad_()

        def call(x, transform=transform, labels=labels):
            return transform(x, labels, generator=5)

        ours, expected = torch.compile(call, fullgraph=True)(x), call(x)
        assert torch.equal(ours[0], expected[0])
        assert all_equal(
            ours[1] if isinstance(ours[1], tuple) else ours[1:],
            expected[1] if isinstance(expected[1], tuple) else expected[1:],
        )
        grads = [torch.autograd.grad(out[0].square().sum(), x)[0] for out in (ours, expected)]
        assert torch.equal(*grads)
    inplace = RandomMix(num_classes=None, inplace=True)
    compiled = torch.compile(lambda x: inplace(x, generator=5)[0], fullgraph=True)
    assert torch.equal(compiled(images.clone()), inplace(images.clone(), generator=5)[0])


def test_generators():
    images = torch.randn(4, 1, 4, 4)
    seeded = MixUp(generator=3)
    first, second = seeded(images)[0], seeded(images)[0]
    assert not torch.equal(first, second)
    again = MixUp(generator=3)
    assert torch.equal(again(images)[0], first)
    fixed = MixUp(generator=torch.tensor(3))
    assert torch.equal(fixed(images)[0], fixed(images)[0])
    params = seeded.sample_params(images)
    replayed, labels = seeded(images, params=params)
    assert torch.equal(replayed, mix_images(images, params))
    assert torch.equal(labels.lam, params[:, 2])


def test_faces_take_the_same_arguments():
    for ours, theirs in ((sample_mix, host.sample_mix), (mix_images, host.mix_images)):
        mine, others = (
            [(n, p.kind, p.default) for n, p in inspect.signature(f).parameters.items()] for f in (ours, theirs)
        )
        extra = ("generator", "seed", "device", "threads")
        assert [a for a in mine if a[0] not in extra] == [a for a in others if a[0] not in extra]
