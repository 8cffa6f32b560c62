"""SigLIPLoss and siglip_loss against the definition, open_clip and analytic values."""

from __future__ import annotations

import functools
import math
import re

import pytest
import torch
import torch.nn.functional as F
from image_text_cases import assert_rank_is_checked
from loss_oracle import assert_has_signature_of
from oracle import assert_no_worse
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import SigLIPLoss, siglip_loss
from sslfast.reference.sigmoid_pairs import sigmoid_pairs


def reference(images: Tensor, texts: Tensor, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    return sigmoid_pairs(images, texts, torch.arange(len(images)), scale, bias) / len(images)


def features(n: int, d: int, dtype: torch.dtype = torch.float32, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    images = F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)
    texts = F.normalize(images + noise * torch.randn(n, d, dtype=torch.float64) / d**0.5, dim=1)
    return images.to(dtype), texts.to(dtype)


def with_grads(function, images: Tensor, texts: Tensor, scale: float, bias: float, **options) -> list[Tensor]:
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    numbers = [torch.tensor(x, dtype=dtype, device=images.device) for x in (scale, bias)]
    leaves = [z.detach().clone().requires_grad_() for z in (images, texts, *numbers)]
    loss = function(*leaves, **options)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# N, D, scale, bias: one pair; as training begins; several tiles; steep; late in training.
@pytest.mark.parametrize(
    ("n", "d", "scale", "bias"),
    [(1, 3, 10.0, -10.0), (7, 33, 10.0, -10.0), (1100, 20, 50.0, -5.0), (90, 16, 200.0, -10.0), (40, 64, 110.0, -40.0)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n, d, scale, bias, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    images, texts = features(n, d, dtype)
    ours = with_grads(siglip_loss, images.to(device), texts.to(device), scale, bias)
    same = with_grads(reference, images, texts, scale, bias)
    truth = with_grads(reference, images.double(), texts.double(), scale, bias)
    eps = torch.finfo(dtype).eps
    for k, r, g in zip(ours, same, truth, strict=True):
        assert_no_worse(k, r, g, 16 * eps * max(1.0, g.abs().max().item()) * scale)


# As training begins; in its course; late, when a pair's gradient is as uncertain as its similarity times the scale.
@pytest.mark.parametrize(
    ("scale", "bias", "noise", "bound"), [(10.0, -10.0, 0.5, 2e-6), (30.0, -15.0, 0.5, 2e-6), (40.0, -27.0, 0.1, 1e-5)]
)
def test_precision_in_float32(scale: float, bias: float, noise: float, bound: float) -> None:
    images, texts = features(700, 256, noise=noise)
    loss, *grads = with_grads(siglip_loss, images, texts, scale, bias)
    truth, *true_grads = with_grads(reference, images.double(), texts.double(), scale, bias)
    assert noise > 0.1 or truth < 2e-5
    torch.testing.assert_close(loss.double(), truth, rtol=2e-6, atol=0)
    for k, g in zip(grads, true_grads, strict=True):
        assert (k.double() - g).norm() <= bound * g.norm()


def test_normalizes() -> None:
    images, texts = torch.randn(2, 30, 12, dtype=torch.float64)
    images[4] = 0

    def by_hand(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return reference(F.normalize(images, dim=1), F.normalize(texts, dim=1), scale, bias)

    assert SigLIPLoss(normalize=True)(images, texts, 12.0, -4.0) == siglip_loss(
        images, texts, 12.0, -4.0, normalize=True
    )
    ours = with_grads(siglip_loss, images, texts, 12.0, -4.0, normalize=True)
    for k, g in zip(ours, with_grads(by_hand, images, texts, 12.0, -4.0), strict=True):
        torch.testing.assert_close(k, g)


def test_has_open_clips_numbers_and_signature() -> None:
    theirs = peer("open_clip.loss").SigLipLoss
    images, texts = features(24, 12, torch.float64)
    for ours, g in zip(
        with_grads(SigLIPLoss(), images, texts, 14.0, -9.0),
        with_grads(theirs(), images, texts, 14.0, -9.0),
        strict=True,
    ):
        torch.testing.assert_close(ours, g, rtol=1e-11, atol=1e-14)
    assert_has_signature_of(theirs, SigLIPLoss)
    found, expected = (c()(images, texts, 14.0, -3.0, output_dict=True) for c in (SigLIPLoss, theirs))
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found["contrastive_loss"], expected["contrastive_loss"])


def test_gradcheck() -> None:
    images, texts = (3 * z for z in features(6, 5, torch.float64))
    leaves = [z.requires_grad_() for z in (images, texts, torch.tensor(3.0).double(), torch.tensor(-2.0).double())]
    for normalize in (False, True):
        assert torch.autograd.gradcheck(functools.partial(siglip_loss, normalize=normalize), leaves)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gradients(dtype: torch.dtype, device: torch.device) -> None:
    images, texts = features(50, 32, dtype)
    loss, *grads = with_grads(siglip_loss, images.to(device), texts.to(device), 20.0, -10.0)
    truth, *true_grads = with_grads(reference, images.double(), texts.double(), 20.0, -10.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.cpu().double(), truth, rtol=1e-5, atol=0)
    for k, g in zip(grads, true_grads, strict=True):
        assert (k.cpu().double() - g).norm() <= 2.5e-3 * g.norm()


def test_analytic_values() -> None:
    images = F.normalize(torch.ones(4, 3))
    torch.testing.assert_close(siglip_loss(images, images, 0.0), torch.tensor(4 * math.log(2)))
    eye = torch.eye(8)
    expected = math.log1p(math.exp(-10)) + 7 * math.log1p(math.exp(-20))
    torch.testing.assert_close(siglip_loss(eye, eye, 30.0, -20.0), torch.tensor(expected))


def test_strides_mixed_dtypes_and_pruned_gradients() -> None:
    images, texts = features(6, 8, torch.float64)
    wide = torch.empty(6, 16, dtype=torch.float64)
    wide[:, ::2] = images
    torch.testing.assert_close(siglip_loss(wide[:, ::2], texts, 3.0, -1.0), reference(images, texts, 3.0, -1.0))
    texts = texts.float().requires_grad_()  # locked image tower
    siglip_loss(images.bfloat16(), texts, 3.0).backward()
    assert texts.grad is not None
    with torch.no_grad():
        assert not siglip_loss(images, texts, 3.0).requires_grad


def test_composes() -> None:
    images, texts = features(10, 8)
    plain = with_grads(siglip_loss, images, texts, 10.0, -5.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = with_grads(siglip_loss, images, texts, 10.0, -5.0)
    compiled = torch.compile(siglip_loss, fullgraph=True, backend="aot_eager")
    for a, b, c in zip(plain, under, with_grads(compiled, images, texts, 10.0, -5.0), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_backward_twice_and_second_derivatives() -> None:
    images, texts = (z.requires_grad_() for z in features(6, 4))
    loss = siglip_loss(images, texts, 8.0, -3.0)
    first = torch.autograd.grad(loss, images, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(2 * loss, images, retain_graph=True)[0], 2 * first)
    with torch.no_grad():
        loss *= 0  # in place, as a training loop may scale it: the saved gradients lie elsewhere
    torch.testing.assert_close(torch.autograd.grad(loss, images, retain_graph=True)[0], first)
    (grad,) = torch.autograd.grad(loss, images, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^siglip_loss: second derivatives are not supported$"):
        grad.sum().backward()


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD, GOOD[:2], 1.0], ValueError, "text_features must have shape (4, 3), like image_features, got (2, 3)"),
    ([GOOD.long(), GOOD, 1.0], TypeError, "image_features must be a floating-point tensor, got torch.int64"),
    ([GOOD, [1.0], 1.0], TypeError, "text_features must be a floating-point tensor, got list"),
    ([GOOD[0], GOOD[0], 1.0], ValueError, "image_features must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD, GOOD, None], TypeError, "logit_scale must be a number, got NoneType"),
    ([GOOD, GOOD, math.nan], ValueError, "logit_scale must be finite, got nan"),
    ([GOOD, GOOD, 1.0, torch.ones(2)], ValueError, "logit_bias must have one element, got shape (2,)"),
    ([GOOD, GOOD, "1"], TypeError, "logit_scale must be a number, got str"),
    ([GOOD, GOOD, 1.0, math.nan], ValueError, "logit_bias must be finite, got nan"),
    ([GOOD, GOOD, math.inf], ValueError, "logit_scale must be finite, got inf"),
    ([GOOD, GOOD, 1e39], ValueError, "logit_scale must be finite in float32, got 1e+39"),
    ([GOOD, GOOD.bfloat16(), 1.0, -1e39], ValueError, "logit_bias must be finite in float32, got -1e+39"),
    (
        [GOOD, GOOD, 1.0, torch.ones(1, dtype=torch.int64)],
        TypeError,
        "logit_bias must be a floating-point tensor, got torch.int64",
    ),
    (
        [GOOD, GOOD, 1.0, torch.ones((), device="meta")],
        ValueError,
        "logit_bias must be on cpu, like the features, got meta",
    ),
    ([GOOD, GOOD.to("meta"), 1.0], ValueError, "text_features must be on cpu, like image_features, got meta"),
    ([GOOD[:0], GOOD, 1.0], ValueError, "image_features must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD, GOOD, torch.ones(2)], ValueError, "logit_scale must have one element, got shape (2,)"),
]


@pytest.mark.parametrize(("args", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(args, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"siglip_loss: {text}") + "$"):
        siglip_loss(*args)


def test_float64_holds_a_scale_that_float32_does_not() -> None:
    tiny = 1e-20 * torch.eye(4, dtype=torch.float64)
    expected = siglip_loss(tiny, tiny, 1e39)
    torch.testing.assert_close(
        expected, siglip_loss(1e-10 * torch.eye(4).double(), 1e-10 * torch.eye(4).double(), 1e19)
    )
    assert siglip_loss(tiny, tiny.float(), 1e39).isfinite()


def test_module_errors() -> None:
    with pytest.raises(ValueError, match=r"^SigLIPLoss: dist_impl must be None, .*, got 'ring'$"):
        SigLIPLoss(dist_impl="ring")
    with pytest.raises(TypeError, match=r"^SigLIPLoss: world_size must be an int, got NoneType$"):
        SigLIPLoss(world_size=None)
    assert_rank_is_checked(SigLIPLoss)
    with pytest.raises(ValueError, match=r"^SigLIPLoss: world_size must be that of torch.distributed, 1, got 2$"):
        SigLIPLoss(world_size=2)(GOOD, GOOD, 1.0, 0.0)
