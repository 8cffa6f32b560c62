"""Ids, margin, label smoothing and hard negatives of siglip_loss and SigLIPLoss, against the definition."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from image_text_cases import D, assert_no_worse_than, clear_margin, features, some_ids, wide
from loss_oracle import assert_compiles, assert_steady, largest_tensor
from torch import Tensor

from sslfast.losses import MatryoshkaLoss, SigLIPLoss, siglip_loss
from sslfast.losses._siglip_options import hard_mean
from sslfast.reference.siglip import siglip_loss as reference

SCALE, BIAS = 8.0, -3.0
NOBODY = torch.zeros(5).long()


def with_grads(function, images: Tensor, texts: Tensor, hard: Tensor | None, **options: Any) -> list[Tensor]:
    """Loss and gradients of features, scale, bias and, if there are any, of hard negatives."""
    wide = torch.float64 if images.dtype == torch.float64 else torch.float32
    numbers = [torch.tensor(x, dtype=wide, device=images.device) for x in (SCALE, BIAS)]
    leaves = [z.detach().clone().requires_grad_() for z in (images, texts, *numbers, *([] if hard is None else [hard]))]
    loss = function(*leaves[:4], **options, **({} if hard is None else {"negative_keys": leaves[4]}))
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# Of ids, of a margin, of smoothing, of hard negatives.
CHOICES = {
    "ids": (True, False, 0.0, False),
    "margin": (False, True, 0.0, False),
    "smoothing": (False, False, 0.2, False),
    "hard": (False, False, 0.0, True),
    "ids and margin": (True, True, 0.0, False),
    "ids, smoothing": (True, False, 0.1, False),
    "margin, hard": (False, True, 0.0, True),
    "smoothing, hard": (False, False, 1.0, True),
    "all": (True, True, 0.2, True),
}


def chosen(name: str, n: int, dtype: torch.dtype) -> tuple[list[Any], dict[str, Any]]:
    ids, margin, smoothing, hard = CHOICES[name]
    inputs: list[Any] = [*features(n, dtype)]
    options: dict[str, Any] = {"label_smoothing": smoothing} | (some_ids(n) if ids else {})
    if margin:
        options["margin"] = clear_margin(*(z.double() for z in inputs))
    return (inputs if hard else [*inputs[:2], None]), options


def test_the_definition_is_torchs_binary_cross_entropy() -> None:
    (images, texts, hard), options = chosen("all", 12, torch.float64)
    similar, harder = images @ texts.T, torch.einsum("nd,nkd->nk", images, hard)
    own = torch.eye(12, dtype=torch.float64)
    limits = similar.diagonal()[:, None] + options["margin"]
    counted = (own == 1) | ((similar <= limits) & (options["image_ids"][:, None] != options["text_ids"]))
    assert 0 < (~counted).sum() < counted.sum()
    assert (harder > limits).any()
    logits = torch.cat([SCALE * similar + BIAS, SCALE * harder + BIAS], dim=1)
    targets = torch.cat([0.9 * own + 0.1 * (1 - own), torch.full_like(harder, 0.1)], dim=1)
    weights = torch.cat([counted, harder <= limits], dim=1).double()
    expected = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum") / 12
    torch.testing.assert_close(reference(images, texts, SCALE, BIAS, negative_keys=hard, **options), expected)


# One pair, of which no margin is clear of the similarity; all logits at once, on the CPU; several tiles.
SIZED = [(n, name) for n in (1, 40, 600) for name in CHOICES if n > 1 or not CHOICES[name][1]]


@pytest.mark.parametrize(("n", "name"), SIZED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, name: str, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    of_reference, ours = (functools.partial(with_grads, loss) for loss in (reference, siglip_loss))
    assert_no_worse_than(of_reference, ours, *chosen(name, n, dtype), device, SCALE)


@pytest.mark.parametrize("name", ["ids and margin", "smoothing, hard", "all"])
def test_normalizes(name: str) -> None:
    (images, texts, hard), options = chosen(name, 30, torch.float64)
    options["normalize"] = True
    lengths = torch.rand(30, 1, dtype=torch.float64) + 0.5
    inputs = (lengths * images, 2 * lengths * texts, None if hard is None else 3 * lengths.unsqueeze(2) * hard)
    ours, expected = (with_grads(f, *inputs, **options) for f in (siglip_loss, reference))
    for k, g in zip(ours, expected, strict=True):
        torch.testing.assert_close(k, g)


@pytest.mark.parametrize("n", [50, 600])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", ["ids and margin", "smoothing, hard", "all"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, name: str, normalize: bool, n: int, device: torch.device) -> None:
    inputs, options = chosen(name, n, dtype)
    options["normalize"] = normalize
    if normalize and "margin" in options:  # rounding has changed the norms
        options["margin"] = clear_margin(*(z if z is None else F.normalize(z.double(), dim=-1) for z in inputs))
    there = {key: x.to(device) if isinstance(x, Tensor) else x for key, x in options.items()}
    loss, *grads = with_grads(siglip_loss, *(None if z is None else z.to(device) for z in inputs), **there)
    truth, *true_grads = with_grads(reference, *wide(inputs), **options)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-5, atol=0)
    for k, g in zip(grads, true_grads, strict=True):
        assert (k.cpu().double() - g).norm() <= 2.6e-3 * g.norm()


def test_one_sided_gradients() -> None:
    (images, texts, hard), options = chosen("all", 30, torch.float64)
    names = ("images", "texts", "scale", "bias", "hard")
    values = dict(zip(names, (images, texts, torch.tensor(SCALE), torch.tensor(BIAS), hard), strict=True))
    values |= {name: values[name].double() for name in ("scale", "bias")}

    def grads(function, needed: tuple[str, ...]) -> tuple[Tensor, ...]:
        leaves = {name: z.clone().requires_grad_(name in needed) for name, z in values.items()}
        loss = function(*(leaves[name] for name in names[:4]), negative_keys=leaves["hard"], **options)
        return torch.autograd.grad(loss, [leaves[name] for name in needed])

    for needed in (*((name,) for name in names), ("images", "bias"), ("texts", "scale", "hard")):
        for k, g in zip(grads(siglip_loss, needed), grads(reference, needed), strict=True):
            torch.testing.assert_close(k, g)
    with torch.no_grad():
        assert not siglip_loss(images.requires_grad_(), texts, SCALE, BIAS, **options).requires_grad


def test_gradcheck() -> None:
    (images, texts, hard), options = chosen("all", 6, torch.float64)
    numbers = (torch.tensor(3.0).double(), torch.tensor(-2.0).double())
    leaves = [z.requires_grad_() for z in (images, texts, *numbers, hard)]

    def loss(a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, h: Tensor) -> Tensor:
        return siglip_loss(a, b, scale, bias, negative_keys=h, **options)

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize(
    "options", [{"margin": -3.0}, {"image_ids": NOBODY, "text_ids": NOBODY}], ids=["margin", "ids"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_no_negative_is_left(options: dict[str, Any], dtype: torch.dtype) -> None:
    """What is left is log(1 + exp(-logit)) of each pair; its gradients are of its own features alone."""
    images, texts, hard = features(5, dtype)
    logits = SCALE * (images.double() * texts.double()).sum(dim=1) + BIAS
    loss, d_images, *_ = with_grads(siglip_loss, images, texts, None, **options)
    torch.testing.assert_close(loss.double(), F.softplus(-logits).mean(), rtol=1e-5, atol=0)
    expected = -SCALE / 5 * torch.sigmoid(-logits).unsqueeze(1) * texts.double()
    torch.testing.assert_close(d_images.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    if "margin" in options:
        with_hard = siglip_loss(images, texts, SCALE, BIAS, negative_keys=hard, **options)
        torch.testing.assert_close(with_hard, loss)


def test_analytic_values() -> None:
    eye = torch.eye(8)
    # A pair's logit is 10, every other one -20: e / 2 of a target costs 10 and 20 more.
    known = math.log1p(math.exp(-10)) + 7 * math.log1p(math.exp(-20))
    smoothed = siglip_loss(eye, eye, 30.0, -20.0, label_smoothing=0.5)
    torch.testing.assert_close(smoothed, torch.tensor(known + 0.25 * (10 + 7 * 20)))
    hard = siglip_loss(eye, eye, 30.0, -20.0, negative_keys=torch.stack([eye, -eye], dim=1))
    torch.testing.assert_close(hard, torch.tensor(known + math.log1p(math.exp(10)) + math.log1p(math.exp(-50))))
    only = siglip_loss(eye, eye, 30.0, -20.0, image_ids=torch.zeros(8).long(), text_ids=torch.zeros(8).long())
    torch.testing.assert_close(only.item(), math.log1p(math.exp(-10)), rtol=2e-6, atol=0)  # small, and exact


def test_options_that_leave_nothing_out_change_nothing() -> None:
    images, texts, _ = features(600, torch.float32)
    plain = with_grads(siglip_loss, images, texts, None)
    apart = {"image_ids": torch.arange(600), "text_ids": torch.arange(600)}  # of its own pair's id a text is none
    for options in ({"margin": 3.0}, apart, {"label_smoothing": 0.0, "margin": None}):
        for a, b in zip(with_grads(siglip_loss, images, texts, None, **options), plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("n", [64, 600])
@pytest.mark.parametrize("size", [1.0, 10.0])  # of the features
def test_a_duplicate_of_the_text_is_not_above_it(n: int, size: float) -> None:
    images, texts, _ = features(n, torch.float32, 96)
    images, texts, scale = size * images, size * texts, SCALE / size**2
    texts[1::2] = texts[::2]
    roundings = 16 * 2.0**-23 * size**2  # that others, too, may be above it
    exact = reference(images.double(), texts.double(), scale, BIAS, margin=roundings)
    torch.testing.assert_close(siglip_loss(images, texts, scale, BIAS, margin=0.0).double(), exact, rtol=1e-5, atol=0)


def test_the_margin_is_of_similarities_whatever_the_scale() -> None:
    images, texts, _ = features(20)
    for scale in (-4.0, 0.0, 9.0):
        torch.testing.assert_close(
            siglip_loss(images, texts, scale, -1.0, margin=-0.1), reference(images, texts, scale, -1.0, margin=-0.1)
        )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("n", [1, 9, 600])
@pytest.mark.parametrize("options", [{}, {"margin": 0.1}, {"image_ids": 0, "text_ids": 0}, {"label_smoothing": 0.1}])
def test_nan_and_inf_reach_the_loss(bad: float, n: int, options: dict[str, Any]) -> None:
    """Also where all that they make infinite is left out, or of the right sign."""
    images, texts, hard = features(n, torch.float32)
    images[:, 1], hard[:, :, 1] = images[:, 1].abs() + 0.1, hard[:, :, 1].abs() + 0.1
    same = {key: torch.zeros(n).long() if key.endswith("ids") else value for key, value in options.items()}
    spoilt = texts.clone()
    spoilt[n // 2, 1] = bad
    assert not siglip_loss(images, spoilt, SCALE, BIAS, **same).isfinite()
    for sign in (1, -1):
        spoilt = hard.clone()
        spoilt[n // 2, 0, 1] = sign * bad
        assert not siglip_loss(images, texts, SCALE, BIAS, negative_keys=spoilt, **same).isfinite()


def test_composes() -> None:
    (images, texts, hard), options = chosen("all", 30, torch.float32)

    def loss(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        return siglip_loss(a, b, SCALE, BIAS, negative_keys=h, **options)

    for function, inputs in (
        (loss, (images, texts, hard)),
        (functools.partial(siglip_loss, logit_scale=SCALE, label_smoothing=0.2), (images, texts)),
        (functools.partial(siglip_loss, logit_scale=SCALE, **some_ids(30)), (images, texts)),
    ):
        assert_steady(function, *inputs)
        assert_compiles(function, *inputs)
    leaf = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf, texts, hard), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^siglip_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_what_hard_negatives_add_has_no_second_derivative() -> None:
    images, _, hard = features(5)
    leaf, bias = torch.tensor([SCALE], dtype=torch.float64, requires_grad=True), torch.tensor([BIAS]).double()
    options = {"limits": None, "smoothing": 0.0, "normalize": False, "strategy": "local"}
    loss = hard_mean("siglip_loss", images, hard, leaf, bias, **options)
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
    assert grad != 0
    with pytest.raises(RuntimeError, match=r"^siglip_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_no_matrix_of_similarities() -> None:
    images, texts, _ = features(1500, torch.float32)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return siglip_loss(a, b, SCALE, BIAS, margin=0.1, label_smoothing=0.1, **some_ids(1500))

    assert largest_tensor(loss, images, texts) <= 1500**2 / 4


def test_module() -> None:
    (images, texts, hard), options = chosen("all", 20, torch.float32)
    called = {name: options.pop(name) for name in ("image_ids", "text_ids")} | {"negative_keys": hard}
    criterion = SigLIPLoss(normalize=True, **options)
    expected = siglip_loss(images, texts, SCALE, BIAS, normalize=True, **options, **called)
    assert criterion(images, texts, SCALE, BIAS, **called) == expected
    assert criterion(images, texts, SCALE, BIAS, output_dict=True, **called) == {"contrastive_loss": expected}
    assert not criterion.state_dict()
    shown = f"world_size=1, normalize=True, margin={options['margin']}, label_smoothing=0.2"
    assert repr(criterion) == f"SigLIPLoss({shown})"
    cut = siglip_loss(images[:, :8], texts[:, :8], SCALE, BIAS, normalize=True, **options, negative_keys=hard[:, :, :8])
    nested = MatryoshkaLoss(criterion, (8, D))(images, texts, SCALE, BIAS, negative_keys=hard)
    whole = criterion(images, texts, SCALE, BIAS, negative_keys=hard)
    torch.testing.assert_close(nested, cut + whole)
