"""CLIPLoss and clip_loss against the definition, open_clip and analytic values."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import assert_has_signature_of
from loss_oracle import with_grads as gradients
from oracle import assert_no_worse
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import CLIPLoss, clip_loss, info_nce_loss, siglip_loss
from sslfast.reference.clip import clip_loss as reference
from sslfast.reference.info_nce import info_nce_loss as info_nce_reference


def features(n: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    images = F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)
    texts = F.normalize(images + 0.5 * torch.randn(n, d, dtype=torch.float64) / d**0.5, dim=1)
    return images.to(dtype), texts.to(dtype)


def with_grads(function, images: Tensor, texts: Tensor, scale: float, **options) -> list[Tensor]:
    images, texts = (z.detach().clone().requires_grad_() for z in (images, texts))
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    logit_scale = torch.tensor(scale, dtype=dtype, device=images.device, requires_grad=True)
    loss = function(images, texts, logit_scale, **options)
    return [loss.detach(), *torch.autograd.grad(loss, (images, texts, logit_scale))]


# N, D, scale: one pair; odd sizes; several tiles, logits kept in part; late training; a negative scale; features that
# the passes behind the products take in several blocks.
@pytest.mark.parametrize(
    ("n", "d", "scale"),
    [(1, 3, 14.0), (7, 33, 14.0), (1100, 20, 50.0), (40, 64, 100.0), (9, 8, -3.0), (700, 300, 14.0)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, scale: float, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU; test_clip_input.py has it")
    images, texts = features(n, d, dtype)
    ours = with_grads(clip_loss, images.to(device), texts.to(device), scale)
    same = with_grads(reference, images, texts, scale)
    truth = with_grads(reference, images.double(), texts.double(), scale)
    eps = torch.finfo(dtype).eps
    for k, r, g in zip(ours, same, truth, strict=True):
        assert_no_worse(k, r, g, 16 * eps * max(1.0, g.abs().max().item()) * max(1.0, abs(scale)))


def test_has_open_clips_numbers_and_signature() -> None:
    theirs = peer("open_clip.loss").ClipLoss
    images, texts = features(24, 12, torch.float64)
    for ours, g in zip(
        with_grads(CLIPLoss(), images, texts, 14.0), with_grads(theirs(), images, texts, 14.0), strict=True
    ):
        torch.testing.assert_close(ours, g, rtol=1e-11, atol=1e-14)
    assert_has_signature_of(theirs, CLIPLoss)
    found, expected = (c()(images, texts, 14.0, -3.0, output_dict=True) for c in (CLIPLoss, theirs))
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found["contrastive_loss"], expected["contrastive_loss"])


@pytest.mark.parametrize(
    "options", [{"normalize": True}, {"label_smoothing": 0.2}, {"normalize": True, "label_smoothing": 1.0}]
)
def test_options(options) -> None:
    images, texts = (2 * z for z in features(10, 6, torch.float64))
    for ours, g in zip(
        with_grads(clip_loss, images, texts, 5.0, **options),
        with_grads(reference, images, texts, 5.0, **options),
        strict=True,
    ):
        torch.testing.assert_close(ours, g)


@pytest.mark.parametrize("tau_plus", [0.02, 0.9])
def test_debiased_is_the_symmetric_info_nce(tau_plus: float) -> None:
    def expected(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        return info_nce_reference(a, b, None, 1 / scale, tau_plus=tau_plus, symmetric=True).mean()

    images, texts = features(10, 6, torch.float64)
    found = with_grads(clip_loss, images, texts, 5.0, tau_plus=tau_plus, normalize=True)
    for ours, g in zip(found, with_grads(expected, images, texts, 5.0), strict=True):
        torch.testing.assert_close(ours, g)
    criterion = CLIPLoss(normalize=True, tau_plus=tau_plus, label_smoothing=0.1)
    options = {"normalize": True, "tau_plus": tau_plus, "label_smoothing": 0.1}
    torch.testing.assert_close(criterion(images, texts, 5.0), clip_loss(images, texts, 5.0, **options))


def test_gradcheck() -> None:
    images, texts = (z.requires_grad_() for z in features(6, 5, torch.float64))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(clip_loss, (images, texts, scale))
    assert torch.autograd.gradcheck(
        lambda *a: clip_loss(*a, normalize=True, label_smoothing=0.1), (images, texts, scale)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("n", "d"), [(50, 32), (700, 300)])
def test_half_precision_inputs_are_no_worse_than_eager(
    dtype: torch.dtype, normalize: bool, n: int, d: int, device: torch.device
) -> None:
    images, texts = features(n, d, dtype)
    loss, *grads = with_grads(clip_loss, images.to(device), texts.to(device), 20.0, normalize=normalize)
    same, *same_grads = with_grads(reference, images, texts, 20.0, normalize=normalize)
    truth, *true_grads = with_grads(reference, images.double(), texts.double(), 20.0, normalize=normalize)
    assert loss.dtype == torch.float32
    assert_no_worse(loss, same.float(), truth, 1e-5)
    for k, r, g in zip(grads, same_grads, true_grads, strict=True):
        assert_no_worse(k, r, g, 4 * torch.finfo(dtype).eps * g.abs().max().item())


def test_analytic_values() -> None:
    one = F.normalize(torch.ones(4, 3))
    torch.testing.assert_close(clip_loss(one, one, 10.0), torch.tensor(math.log(4)))
    assert clip_loss(one[:1], one[:1], 10.0) == 0  # nothing to tell apart
    eye = torch.eye(8)
    torch.testing.assert_close(clip_loss(eye, eye, 40.0), torch.tensor(7 * math.exp(-40)))  # lost if added to 1


def test_a_bias_changes_nothing_and_gets_its_gradient() -> None:
    images, texts = features(5, 4)
    bias = torch.tensor(-10.0, requires_grad=True)
    loss = clip_loss(images, texts, 5.0, bias)
    torch.testing.assert_close(loss, clip_loss(images, texts, 5.0))
    loss.backward()
    assert bias.grad == 0


def test_strides_mixed_dtypes_and_pruned_gradients() -> None:
    images, texts = features(6, 8, torch.float64)
    wide = torch.empty(6, 16, dtype=torch.float64)
    wide[:, ::2] = images
    expected = reference(images, texts, 3.0)
    torch.testing.assert_close(clip_loss(wide[:, ::2], texts, 3.0), expected)
    texts = texts.float().requires_grad_()  # locked image tower
    clip_loss(images.bfloat16(), texts, 3.0).backward()
    assert texts.grad is not None


@pytest.mark.parametrize("other", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wide_first", [True, False])
def test_one_float64_side(other: torch.dtype, wide_first: bool) -> None:
    narrow, wide = torch.randn(5, 7).to(other), torch.randn(5, 7, dtype=torch.float64)
    sides = (wide, narrow) if wide_first else (narrow, wide)
    functions = [
        lambda images, texts: clip_loss(images, texts, 4.0, normalize=True),
        lambda images, texts: siglip_loss(images, texts, 4.0, -1.0, normalize=True),
    ]
    for function in functions:
        found = gradients(function, *sides)
        truth = gradients(function, *(z.double() for z in sides))
        assert found[0].dtype == torch.float64
        for f, g, z in zip(found, truth, (wide, *sides), strict=True):
            eps = torch.finfo(z.dtype).eps  # of one rounding, at the end
            torch.testing.assert_close(f.double(), g, rtol=eps, atol=1e-12)


def test_a_float64_number_does_not_widen_the_loss() -> None:
    images, texts = features(5, 7)
    number = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    for options in ({"label_smoothing": 0.1}, {"tau_plus": 0.1}, {"logit_bias": number}):
        loss = clip_loss(images, texts, number, **options)
        assert (loss.dtype, loss.shape) == (torch.float32, ())
        torch.testing.assert_close(loss, clip_loss(images, texts, 3.0, **options))
        loss.backward()


def test_composes() -> None:
    images, texts = features(10, 8)
    plain = with_grads(clip_loss, images, texts, 10.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = with_grads(clip_loss, images, texts, 10.0)
    compiled = torch.compile(clip_loss, fullgraph=True, backend="aot_eager")
    for a, b, c in zip(plain, under, with_grads(compiled, images, texts, 10.0), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_backward_twice_and_second_derivatives() -> None:
    images, texts = (z.requires_grad_() for z in features(6, 4))
    loss = clip_loss(images, texts, 8.0)
    first = torch.autograd.grad(loss, images, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(2 * loss, images, retain_graph=True)[0], 2 * first)
    (grad,) = torch.autograd.grad(loss, images, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^clip_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_nan_reaches_the_loss() -> None:
    images, texts = features(6, 4)
    images[2, 1] = math.nan
    assert clip_loss(images, texts, 5.0).isnan()


def test_an_infinite_pair_is_not_a_perfect_one() -> None:
    images, texts = -torch.ones(6, 1), -torch.ones(6, 1)
    images[2], texts[2] = math.inf, 1.0  # a positive logit of inf among negative ones of -inf
    assert clip_loss(images, texts, 5.0).isnan()
    assert clip_loss(images[2:3], texts[2:3], 5.0).isnan()


def test_memory_budget_bounds_what_is_kept_and_changes_nothing() -> None:
    images, texts = features(600, 16, torch.float32)
    kept, results = [], []
    for budget in (0, 300_000, 10**9, None):
        sizes: list[int] = []

        def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = clip_loss(images.requires_grad_(), texts.requires_grad_(), 14.0, memory_budget=budget)
        kept.append(max(sizes))
        results.append([loss.detach(), *torch.autograd.grad(loss, (images, texts))])
        assert torch.equal(CLIPLoss(memory_budget=budget)(images, texts, 14.0), loss)
    assert kept == [4 * 600 * 16, 300_000, 4 * 600**2, 4 * 600**2]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_symmetric_info_nce_is_the_same_for_a_model_that_normalises() -> None:
    """The way from here to a queue and further kinds of negatives."""
    image, text = torch.randn(9, 16), torch.randn(9, 16)

    def clip(x: Tensor, y: Tensor, s: Tensor) -> Tensor:
        return clip_loss(F.normalize(x, dim=1), F.normalize(y, dim=1), s)

    def info_nce(x: Tensor, y: Tensor, s: Tensor) -> Tensor:
        return info_nce_loss(F.normalize(x, dim=1), F.normalize(y, dim=1), temperature=1 / s, symmetric=True)

    for found, expected in zip(*(with_grads(f, image, text, 20.0) for f in (info_nce, clip)), strict=True):
        torch.testing.assert_close(found, expected)
