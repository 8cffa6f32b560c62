"""Ids, margin, label smoothing and hard negatives of clip_loss, against the definition and InfoNCE."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from clip_option_cases import CHOICES, SCALE, chosen, symmetric, with_grads
from image_text_cases import assert_no_worse_than, clear_margin, features, over_own, wide
from torch import Tensor

from sslfast.losses import clip_loss, info_nce_loss
from sslfast.reference.clip import clip_loss as reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference


@pytest.mark.parametrize("name", CHOICES)
def test_the_definition_is_the_symmetric_info_nce(name: str) -> None:
    """Written down twice; and there is something that every option leaves out, in both directions."""
    inputs, options = chosen(name, 24, sizes=(1.0, 2.0, 2.0))
    expected = functools.partial(symmetric, info_nce_reference, normalize=False)
    for a, b in zip(with_grads(reference, *inputs, **options), with_grads(expected, *inputs, **options), strict=True):
        torch.testing.assert_close(a, b)
    if "margin" in options:
        over = over_own(*inputs) > options["margin"]
        of_images, of_texts, of_hard = over[:, :24], over[:, 24:48], over[:, 48:]
        assert all(
            0 < some.sum() < some.numel() for some in (of_images, of_texts, *([of_hard] * bool(of_hard.numel())))
        )
    if "image_ids" in options:
        same = options["image_ids"].unsqueeze(1) == options["text_ids"]
        assert same.fill_diagonal_(False).any()


# One pair, of which no margin is clear of the similarity; all logits at once, on the CPU; several tiles.
SIZED = [(n, name) for n in (1, 40, 600) for name in CHOICES if n > 1 or not CHOICES[name][1]]


@pytest.mark.parametrize(("n", "name"), SIZED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, name: str, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    of_reference, ours = (functools.partial(with_grads, loss) for loss in (reference, clip_loss))
    assert_no_worse_than(of_reference, ours, *chosen(name, n, dtype), device, SCALE)


@pytest.mark.parametrize("n", [30, 600])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", CHOICES)
def test_rows_of_any_length(name: str, normalize: bool, n: int) -> None:
    """Without normalize similarities are inner products, and a margin is on these."""
    inputs, options = chosen(name, n, sizes=(1.0, 2.0, 1.5))
    if normalize and "margin" in options:
        options["margin"] = clear_margin(*(z if z is None else F.normalize(z, dim=-1) for z in inputs))
    options["normalize"] = normalize
    ours, expected = (with_grads(f, *inputs, **options) for f in (clip_loss, reference))
    for k, g in zip(ours, expected, strict=True):
        torch.testing.assert_close(k, g)


@pytest.mark.parametrize("n", [50, 600])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", ["ids", "ids and margin", "smoothing, hard of each", "everything, hard of all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, name: str, normalize: bool, n: int, device: torch.device) -> None:
    inputs, options = chosen(name, n, dtype)
    options["normalize"] = normalize
    if normalize and "margin" in options:  # rounding has changed the norms
        options["margin"] = clear_margin(*(z if z is None else F.normalize(z.double(), dim=-1) for z in inputs))
    there = {key: x.to(device) if isinstance(x, Tensor) else x for key, x in options.items()}
    loss, *grads = with_grads(clip_loss, *(None if z is None else z.to(device) for z in inputs), **there)
    truth, *true_grads = with_grads(reference, *wide(inputs), **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-5, atol=0)
    for at, (k, g) in enumerate(zip(grads, true_grads, strict=True)):
        # Of negatives of all images what smoothing takes off their rounded weights leaves up to 2.9e-3, in 8 draws.
        assert (k.cpu().double() - g).norm() <= (2.6e-3 if at < 3 else 3.2e-3) * g.norm()


@pytest.mark.parametrize("n", [40, 600])
@pytest.mark.parametrize("tau_plus", [0.0, 0.02, 0.9])
@pytest.mark.parametrize("name", CHOICES)
def test_is_the_symmetric_info_nce(name: str, tau_plus: float, n: int) -> None:
    """Ours and by definition; debiased, the sums are also those of features that the model has normalised."""
    inputs, options = chosen(name, n)
    options["tau_plus"] = tau_plus
    found = with_grads(clip_loss, *inputs, normalize=True, **options)
    for function in (info_nce_loss, info_nce_reference):
        expected = with_grads(functools.partial(symmetric, function), *inputs, **options)
        for k, g in zip(found, expected, strict=True):
            torch.testing.assert_close(k, g)
    unit, definition = (
        with_grads(f, *inputs, normalize=False, **options)
        for f in (clip_loss, functools.partial(symmetric, info_nce_reference))
    )
    torch.testing.assert_close(unit[0], found[0])
    for k, g in zip(unit, definition, strict=True):
        torch.testing.assert_close(k, g)


@pytest.mark.parametrize("n", [30, 600])
@pytest.mark.parametrize("name", ["ids", "everything", "everything, hard of all"])
def test_one_sided_gradients(name: str, n: int) -> None:
    (images, texts, hard), options = chosen(name, n)
    values = {"images": images, "texts": texts, "scale": torch.tensor(SCALE).double()}
    values |= {} if hard is None else {"hard": hard}

    def grads(function, needed: tuple[str, ...]) -> tuple[Tensor, ...]:
        leaves = {key: z.clone().requires_grad_(key in needed) for key, z in values.items()}
        rows = [leaves[key] for key in ("images", "texts", "scale")]
        return torch.autograd.grad(
            function(*rows, negative_keys=leaves.get("hard"), **options), [leaves[key] for key in needed]
        )

    for needed in (*((key,) for key in values), ("texts", "scale"), (*values,)):
        for k, g in zip(grads(clip_loss, needed), grads(reference, needed), strict=True):
            torch.testing.assert_close(k, g)
    with torch.no_grad():
        assert not clip_loss(images.requires_grad_(), texts, SCALE, negative_keys=hard, **options).requires_grad


@pytest.mark.parametrize("name", ["ids", "everything", "everything, hard of all"])
def test_gradcheck(name: str) -> None:
    (images, texts, hard), options = chosen(name, 7, d=4)
    leaves = [z for z in (images, texts, torch.tensor(3.0).double(), hard) if z is not None]

    def loss(a: Tensor, b: Tensor, scale: Tensor, h: Tensor | None = None) -> Tensor:
        return clip_loss(a, b, scale, negative_keys=h, **options)

    assert torch.autograd.gradcheck(loss, [z.requires_grad_() for z in leaves])


@pytest.mark.parametrize("n", [5, 600])
@pytest.mark.parametrize("option", ["margin", "ids"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_no_negative_is_left(option: str, dtype: torch.dtype, n: int) -> None:
    """Nothing to tell apart: no loss, no gradient, not even a rounding; and of ids hard negatives are the only ones."""
    nobody = torch.zeros(n).long()
    options: dict[str, Any] = {"margin": -3.0} if option == "margin" else {"image_ids": nobody, "text_ids": nobody}
    images, texts, hard = features(n, dtype)
    assert not any(z.any() for z in with_grads(clip_loss, images, texts, None, **options))
    smooth = with_grads(clip_loss, images, texts, None, label_smoothing=0.1, **options)
    assert all(z.abs().max() < 1e-6 for z in smooth)
    # Debiased, a sum is at least that of the negatives that there would be, none of them like the image at all.
    floor = F.softplus(math.log(n - 1) - SCALE - SCALE * (images.double() * texts.double()).sum(dim=1)).mean()
    debiased = clip_loss(images, texts, SCALE, tau_plus=0.1, **options)
    torch.testing.assert_close(debiased.double(), floor, rtol=1e-5, atol=0)
    found = with_grads(clip_loss, images, texts, hard, **options)
    truth = with_grads(reference, *wide([images, texts, hard]), **options)
    torch.testing.assert_close(found[0].double(), truth[0], rtol=1e-5, atol=0)
    assert found[0].any() == (option == "ids")


@pytest.mark.parametrize("n", [8, 600])
def test_analytic_values(n: int) -> None:
    eye = torch.eye(n)
    # A pair's logit is 20, every other one 0: a small loss, of which float32 would keep little beside 1.
    rest = math.log1p((n - 1) * math.exp(-20))
    hard = clip_loss(eye, eye, 20.0, negative_keys=torch.stack([eye, -eye], dim=1))  # of logits 20 and -20
    by_image = math.log(2 + (n - 1) * math.exp(-20) + math.exp(-40))
    torch.testing.assert_close(hard.item(), (by_image + rest) / 2, rtol=2e-6, atol=0)
    of_all = clip_loss(eye, eye, 20.0, negative_keys=-eye[:3])
    plain, of_three = (n + 2) * math.exp(-20), (n + 1) * math.exp(-20) + math.exp(-40)  # its own negative is at -20
    by_image = ((n - 3) * math.log1p(plain) + 3 * math.log1p(of_three)) / n
    torch.testing.assert_close(of_all.item(), (by_image + rest) / 2, rtol=2e-6, atol=0)
    halves = torch.arange(n) % 2
    some = clip_loss(eye, eye, 20.0, image_ids=halves, text_ids=halves)
    torch.testing.assert_close(some.item(), math.log1p(n / 2 * math.exp(-20)), rtol=2e-6, atol=0)
    twins = eye.repeat_interleave(2, dim=0)[:n]  # each image has a text like its own, which a margin of 0 keeps
    torch.testing.assert_close(clip_loss(twins, twins, 20.0, margin=0.0).item(), math.log(2), rtol=1e-6, atol=0)
    apart = clip_loss(twins, twins, 20.0, margin=-0.1).item()
    torch.testing.assert_close(apart, math.log1p((n - 2) * math.exp(-20)), rtol=2e-6, atol=0)


@pytest.mark.parametrize("n", [100, 600])
def test_options_that_leave_nothing_out_change_nothing(n: int) -> None:
    images, texts, _ = features(n, torch.float32)
    apart = {"image_ids": torch.arange(n), "text_ids": torch.arange(n)}  # of its own pair's id a text is none
    for smoothing in (0.0, 0.2):
        plain = with_grads(clip_loss, images, texts, None, label_smoothing=smoothing)
        for options in ({"margin": 3.0}, apart, {"margin": 3.0, **apart}):
            found = with_grads(clip_loss, images, texts, None, label_smoothing=smoothing, **options)
            for a, b in zip(found, plain, strict=True):
                torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("n", [64, 600])
@pytest.mark.parametrize("size", [1.0, 10.0])  # of the features
def test_a_duplicate_of_the_text_is_not_above_it(n: int, size: float) -> None:
    images, texts, _ = features(n, torch.float32, 96)
    images, texts, scale = size * images, size * texts, SCALE / size**2
    texts[1::2] = texts[::2]
    roundings = 16 * 2.0**-23 * size**2  # that others, too, may be above it
    exact = reference(images.double(), texts.double(), scale, margin=roundings)
    torch.testing.assert_close(clip_loss(images, texts, scale, margin=0.0).double(), exact, rtol=1e-5, atol=0)
