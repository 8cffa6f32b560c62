"""batch_mix: the reference on every backend and in every layout, in place and not, gradients, torchvision, timm."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from oracle import all_equal, assert_no_worse
from peer_oracle import peer
from scipy import stats

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


# ---- what is drawn


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 0.999, 1.0, 2.0, 8.0, 1e4])
def test_lambda_is_beta(alpha):
    lam = sample_mix(20000, (8, 8), mixup_alpha=alpha, mode="elem", generator=11)[:, 2].double()
    low = lam[lam <= 0.5]  # near 1 float32 is coarse
    assert stats.binomtest(len(low), len(lam)).pvalue > 1e-3
    assert stats.kstest(low.numpy(), lambda x: 2 * stats.beta.cdf(x, alpha, alpha)).pvalue > 1e-3
    assert 0 <= float(lam.min()) <= float(lam.max()) <= 1


def test_tiny_alpha_is_a_coin():
    lam = sample_mix(2000, (8, 8), mixup_alpha=1e-300, mode="elem", generator=1)[:, 2]
    assert set(lam.tolist()) <= {0.0, 1.0}
    assert abs(float(lam.mean()) - 0.5) < 0.05


def test_shares_of_images():
    params = sample_mix(20000, (16, 16), cutmix_alpha=1.0, prob=0.6, switch_prob=0.25, mode="elem", generator=5)
    kinds = torch.bincount(params[:, 0].long(), minlength=3) / 20000
    assert torch.allclose(kinds, torch.tensor([0.4, 0.45, 0.15]), atol=0.015)
    assert (params[params[:, 0] == 0, 2] == 1).all()


@pytest.mark.parametrize("size", [(32, 32), (21, 40)])
def test_boxes_are_torchvisions(size):
    v2 = peer("torchvision.transforms.v2")
    transform, like = v2.CutMix(alpha=1.0, num_classes=2), torch.zeros(1, 3, *size)
    theirs = [transform.make_params([like]) for _ in range(3000)]
    ours = sample_mix(3000, size, mixup_alpha=0.0, cutmix_alpha=1.0, mode="elem", generator=2)
    boxes = torch.tensor([found["box"] for found in theirs])
    for mine, other in (
        (ours[:, 4], boxes[:, 0]),
        (ours[:, 3], boxes[:, 1]),
        (ours[:, 6], boxes[:, 2] - boxes[:, 0]),
        (ours[:, 5], boxes[:, 3] - boxes[:, 1]),
        (ours[:, 2], torch.tensor([found["lam_adjusted"] for found in theirs])),
    ):
        assert stats.ks_2samp(mine.numpy(), other.numpy()).pvalue > 1e-3


def test_boxes_are_timms(monkeypatch):
    mixup = peer("timm.data.mixup")
    np.random.seed(4)  # noqa: NPY002  what timm draws from
    lam = np.random.beta(1.0, 1.0, 3000)  # noqa: NPY002
    for minmax in (None, (0.2, 0.7)):
        theirs = [mixup.cutmix_bbox_and_lam((3, 25, 30), value, ratio_minmax=minmax) for value in lam]
        ours = sample_mix(
            3000,
            (25, 30),
            mixup_alpha=0.0,
            cutmix_alpha=1.0,
            cutmix_minmax=minmax,
            mode="elem",
            box="timm",
            generator=2,
        )
        low, high, left, right = torch.tensor([found[0] for found in theirs]).T
        for mine, other in (
            (ours[:, 3], low),
            (ours[:, 4], left),
            (ours[:, 5], high - low),
            (ours[:, 6], right - left),
            (ours[:, 2], torch.tensor([found[1] for found in theirs])),
        ):
            assert stats.ks_2samp(mine.numpy(), other.numpy()).pvalue > 1e-3


def test_who_shares_a_draw():
    batch = sample_mix(6, (9, 9), generator=1)
    assert (batch[:, 2] == batch[0, 2]).all()
    assert torch.equal(sample_mix(4, (9, 9), generator=1, row_offset=6)[:, 2], batch[:4, 2])  # of the seed alone
    pairs = sample_mix(6, (9, 9), mode="pair", partner="flip", generator=1)
    assert torch.equal(pairs[:, 2], pairs[:, 2].flip(0))
    assert pairs[:3, 2].unique().numel() == 3
    whole = sample_mix(6, (9, 9), mode="elem", generator=1)
    shard = sample_mix(2, (9, 9), mode="elem", generator=1, row_offset=4)
    assert torch.equal(shard[:, 2], whole[4:, 2])
    one = sample_mix(1, (9, 9), mode="elem", generator=1, sample_ids=torch.tensor([3]))
    assert torch.equal(one[:, 2], whole[3:4, 2])


def test_permutations_are_uniform():
    seen = torch.stack([sample_mix(3, (2, 2), partner="permutation", generator=seed)[:, 1] for seed in range(3000)])
    codes = (seen * torch.tensor([9.0, 3.0, 1.0])).sum(1)
    _, counts = codes.unique(return_counts=True)
    assert counts.numel() == 6
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


# ---- peers


def test_equals_torchvision(device):
    v2 = peer("torchvision.transforms.v2")
    labels = torch.randint(0, 10, (6,))
    for dtype in (torch.float32, torch.float64):
        images = torch.randn(6, 3, 12, 17, dtype=dtype)
        for ours, theirs in ((MixUp, v2.MixUp), (CutMix, v2.CutMix)):
            transform = ours(num_classes=10)
            there = images.to(device)
            mixed, targets, params = transform(there, labels.to(device), generator=3, return_params=True)
            _, _, lam, top, left, height, width = (float(number) for number in params[0])
            box = {"box": tuple(map(int, (left, top, left + width, top + height))), "lam_adjusted": lam}
            known = {"lam": lam, "labels": labels, "batch_size": 6} | (box if ours is CutMix else {})
            expected = theirs(num_classes=10)
            assert torch.equal(mixed.cpu(), expected.transform(images, known))
            assert torch.allclose(targets.cpu(), expected.transform(labels, known), rtol=0, atol=1e-7)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0)])
def test_equals_timm(device, mode, alphas, monkeypatch):
    mixup = peer("timm.data.mixup")
    images, labels = torch.randn(6, 3, 20, 20), torch.randint(0, 10, (6,))
    ours = RandomMix(*alphas, mode=mode, num_classes=10)
    mixed, targets, params = ours(images.to(device), labels.to(device), generator=3, return_params=True)
    lams, boxes = params[:, 2].cpu().numpy(), params[:, 3:].long().tolist()
    drawn = iter([([top, top + high, left, left + wide], lam) for (top, left, high, wide), lam in zip(boxes, lams)])  # noqa: B905
    theirs = mixup.Mixup(*alphas, mode=mode, num_classes=10)
    monkeypatch.setattr(mixup, "cutmix_bbox_and_lam", lambda *args, **options: next(drawn))
    boxed = alphas[1] > 0
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (float(lams[0]), boxed))
    monkeypatch.setattr(theirs, "_params_per_elem", lambda n: (lams[:n].copy(), np.full(n, boxed)))
    expected, soft = theirs(images.clone(), labels)
    assert torch.allclose(mixed.cpu(), expected, rtol=0, atol=1e-6)
    assert torch.allclose(targets.cpu(), soft, rtol=0, atol=1e-6)


def test_arguments_are_the_peers():
    v2, mixup = peer("torchvision.transforms.v2"), peer("timm.data.mixup")
    for ours, theirs in ((MixUp, v2.MixUp), (CutMix, v2.CutMix), (RandomMix, mixup.Mixup)):
        mine, others = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        same = {n: (p.kind, p.default) for n, p in others.items() if n not in ("labels_getter", "multi_label")}
        assert {n: (mine[n].kind, mine[n].default) for n in same} == same


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


# ---- bad input


def bad(error, message, call, *args, **options):
    with pytest.raises(error) as raised:
        call(*args, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": -1}, ValueError, "rows must be in [0, 16777216], got -1"),
        ({"image_size": 4}, ValueError, "image_size must be (height, width), got 4"),
        ({"image_size": (0, 4)}, ValueError, "image_size must be in [1, 16777216], got 0"),
        ({"mixup_alpha": -1.0}, ValueError, "mixup_alpha must be in [0, 1e6], got -1.0"),
        ({"mixup_alpha": "a"}, TypeError, "mixup_alpha must be a number, got str"),
        ({"mixup_alpha": 0.0}, ValueError, "mixup_alpha or cutmix_alpha must be positive, got 0 and 0"),
        (
            {"cutmix_minmax": (0.5, 0.2)},
            ValueError,
            "cutmix_minmax must be two numbers in order in [0.0, 1.0], got (0.5, 0.2)",
        ),
        ({"prob": 2.0}, ValueError, "prob must be a probability in [0, 1], got 2.0"),
        ({"switch_prob": -0.5}, ValueError, "switch_prob must be a probability in [0, 1], got -0.5"),
        ({"mode": "row"}, ValueError, "mode must be 'batch', 'pair' or 'elem', got 'row'"),
        ({"partner": "next"}, ValueError, "partner must be 'roll', 'flip' or 'permutation', got 'next'"),
        ({"box": "square"}, ValueError, "box must be 'torchvision' or 'timm', got 'square'"),
        ({"mode": "pair"}, ValueError, 'partner must be "flip" in mode "pair", got \'roll\''),
        ({"correct_lam": 1}, TypeError, "correct_lam must be a bool, got 1"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_rules(arguments, error, message):
    options = {"rows": 4, "image_size": (8, 8), **arguments}
    bad(error, f"sample_mix: {message}", sample_mix, **options)
    bad(error, f"sample_mix: {message}", host.sample_mix, **options, seed=1)


def test_bad_images():
    images, params = torch.zeros(2, 3, 4, 4), sample_mix(2, (4, 4))
    name, kinds = "mix_images: ", "float32, bfloat16, float16 or float64"
    bad(TypeError, f"{name}images must be a tensor, got list", mix_images, [1], params)
    bad(TypeError, f"{name}images must be {kinds}, got torch.uint8", mix_images, images.byte(), params)
    bad(ValueError, f"{name}images must have shape (N, C, H, W), got (3, 4, 4)", mix_images, images[0], params)
    bad(TypeError, f"{name}params must be a float32 tensor, got torch.float64", mix_images, images, params.double())
    bad(ValueError, f"{name}params must have shape (2, 7), got (1, 7)", mix_images, images, params[:1])
    bad(TypeError, f"{name}inplace must be a bool, got 1", mix_images, images, params, inplace=1)
    message = f"{name}images must not be expanded where inplace, got strides (0, 16, 4, 1)"
    bad(ValueError, message, mix_images, images[:1].expand(2, -1, -1, -1), params, inplace=True)
    message = f"{name}images must have contiguous lines, or channels last, where inplace, got strides (48, 16, 1, 4)"
    bad(ValueError, message, mix_images, images.mT, params, inplace=True)
    message = f"{name}inplace must be False for images that need a gradient, got True"
    bad(ValueError, message, mix_images, images.clone().requires_grad_(), params, inplace=True)
    same = params.clone()
    same[:, 1] = 0
    message = f"{name}params must have a permutation of the batch for partners where inplace"
    bad(ValueError, message, mix_images, images, same, inplace=True)
    bad(ValueError, message, host.mix_images, images.numpy(), same.numpy(), inplace=True)
    many = torch.zeros(8193, 1, 1, 1)
    message = f"{name}images must be at most 8192 where inplace, got 8193"
    bad(ValueError, message, mix_images, many, sample_mix(8193, (1, 1)), inplace=True)


def test_bad_labels():
    params, name = sample_mix(2, (4, 4)), "mix_labels: "
    bad(TypeError, f"{name}labels must be an int64 or floating-point tensor, got list", mix_labels, [1], params)
    bad(
        ValueError, f"{name}labels must have shape (2,), being class ids, got (3,)", mix_labels, torch.arange(3), params
    )
    message = f"{name}labels must have shape (2, K), being soft, got (2,)"
    bad(ValueError, message, mix_labels, torch.ones(2), params)
    message = f"{name}labels must have shape (2, 4), got (2, 3)"
    bad(ValueError, message, mix_labels, torch.ones(2, 3), params, num_classes=4)
    for ids in ([0, 4], [-1, 0]):
        bad(ValueError, f"{name}labels must be in [0, 4)", mix_labels, torch.tensor(ids), params, num_classes=4)
    message = f"{name}params must have shape (N, 7), got (2, 6)"
    bad(ValueError, message, mix_labels, None, params[:, :6])
    message = "MixUp: alpha must be in (0, 1e6], got 0"
    bad(ValueError, message, MixUp, alpha=0)
    bad(ValueError, "CutMix: num_classes must be at least 1, got 0", CutMix, num_classes=0)
