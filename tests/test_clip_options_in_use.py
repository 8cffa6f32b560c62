"""Options of clip_loss and CLIPLoss in use: in graphs, in modules, within memory, and what they say of wrong ones."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from clip_option_cases import SCALE, chosen, with_grads
from image_text_cases import D, features, some_ids, wide
from loss_oracle import assert_compiles, assert_steady, assert_takes_strides_and_mixed_dtypes, largest_tensor
from torch import Tensor

from sslfast.losses import CLIPLoss, MatryoshkaLoss, clip_loss
from sslfast.reference.clip import clip_loss as reference


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("n", [9, 600])
@pytest.mark.parametrize("options", [{}, {"margin": 0.1}, {"image_ids": 0, "text_ids": 0}, {"label_smoothing": 0.1}])
def test_nan_and_inf_reach_the_loss(bad: float, n: int, options: dict[str, Any]) -> None:
    """By definition; of an infinite similarity also where that would leave itself out."""
    images, texts, hard = features(n, torch.float32)
    images[:, 1], hard[:, :, 1] = images[:, 1].abs() + 0.1, hard[:, :, 1].abs() + 0.1
    same = {key: torch.arange(n) % 3 if key.endswith("ids") else value for key, value in options.items()}
    spoilt = texts.clone()
    spoilt[n // 2, 1] = bad
    assert not clip_loss(images, spoilt, SCALE, negative_keys=hard, **same).isfinite()
    for keys in (hard, hard[0]):
        spoilt = keys.clone()
        spoilt.view(-1, D)[1, 1] = bad
        expected = reference(images, texts, SCALE, negative_keys=spoilt, **same)
        found = clip_loss(images, texts, SCALE, negative_keys=spoilt, **same)
        assert found.isfinite() == expected.isfinite()
        assert not math.isnan(bad) or found.isnan()


@pytest.mark.parametrize("name", ["ids", "everything", "everything, hard of all"])
def test_composes(name: str) -> None:
    (images, texts, hard), options = chosen(name, 30, torch.float32)
    inputs = [z for z in (images, texts, hard) if z is not None]

    def loss(a: Tensor, b: Tensor, h: Tensor | None = None) -> Tensor:
        return clip_loss(a, b, SCALE, negative_keys=h, **options)

    assert_steady(loss, *inputs)
    assert_compiles(loss, *inputs)
    assert_takes_strides_and_mixed_dtypes(loss, images, texts)
    leaf = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf, *inputs[1:]), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^clip_loss: second derivatives are not supported$"):
        grad.sum().backward()


@pytest.mark.parametrize("name", ["ids", "everything", "everything, hard of all"])
def test_a_bias_changes_nothing_and_gets_its_gradient(name: str) -> None:
    (images, texts, hard), options = chosen(name, 30)
    bias = torch.tensor([-10.0], requires_grad=True)
    loss = clip_loss(images, texts, SCALE, bias, negative_keys=hard, **options)
    assert torch.equal(loss, clip_loss(images, texts, SCALE, negative_keys=hard, **options))
    loss.backward()
    assert bias.grad == 0


@pytest.mark.parametrize("ids", [[0, 1, 2, 0], [-(2**63), 2**63 - 1, 0, -1]])
def test_further_negatives_have_no_id_of_an_image(ids: list[int]) -> None:
    images, texts, hard = features(4)
    options = {"image_ids": torch.tensor(ids), "text_ids": torch.tensor(ids), "negative_keys": hard[0]}
    torch.testing.assert_close(clip_loss(images, texts, SCALE, **options), reference(images, texts, SCALE, **options))


@pytest.mark.parametrize("name", ["everything", "everything, hard of all"])
def test_hard_negatives_of_another_dtype_are_not_rounded(name: str) -> None:
    (images, texts, hard), options = chosen(name, 40, torch.bfloat16)
    hard = hard + 2.0**-12 * torch.randn(hard.shape)
    found = with_grads(clip_loss, images, texts, hard, **options)
    truth = with_grads(reference, *wide([images, texts, hard]), **options)
    assert [z.dtype for z in found] == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for k, g in zip(found, truth, strict=True):
        eps = torch.finfo(k.dtype).eps
        assert (k.double() - g).norm() <= max(eps, 1e-5) * g.norm()


@pytest.mark.parametrize("name", ["everything", "everything, hard of all"])
def test_memory_budget_changes_nothing(name: str) -> None:
    (images, texts, hard), options = chosen(name, 600, torch.float32)
    kept = [with_grads(clip_loss, images, texts, hard, memory_budget=most, **options) for most in (0, 300_000, None)]
    for other in kept[1:]:
        assert all(torch.equal(a, b) for a, b in zip(kept[0], other, strict=True))


def test_no_matrix_of_similarities() -> None:
    images, texts, _ = features(1500, torch.float32)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        options = {"margin": 0.1, "label_smoothing": 0.1, "memory_budget": 0, **some_ids(1500)}
        return clip_loss(a, b, SCALE, negative_keys=b[:100], **options)

    assert largest_tensor(loss, images, texts) <= 1500**2 / 4


@pytest.mark.parametrize(
    ("name", "learned", "columns"),
    [
        ("ids", False, [600]),
        ("margin", False, [600]),
        ("everything, hard of all", False, [600]),
        ("everything, hard of all", True, [600, 300]),
    ],
)
def test_memory_budget_bounds_what_is_kept(name: str, learned: bool, columns: list[int]) -> None:
    """An explicit one of all passes together; the default holds each of them here. None of constants is kept."""
    (images, texts, hard), options = chosen(name, 600, torch.float32)
    hard = hard.requires_grad_() if learned else hard
    all_logits = [4 * 600 * count for count in columns]
    for budget, expected in (
        (0, []),
        (300_000, [300_000]),
        (10**8, all_logits),
        (None, all_logits),
    ):
        sizes: list[int] = []

        def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        leaves = images.clone().requires_grad_(), texts.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            clip_loss(*leaves, SCALE, negative_keys=hard, memory_budget=budget, **options)
        assert [size for size in sizes if size > 4 * images.numel()] == expected


@pytest.mark.parametrize("name", ["margin", "everything", "everything, hard of all"])
def test_a_scale_that_is_not_asked_for(name: str, device: torch.device) -> None:
    """Of a graph, or on a GPU, which neither breaks nor waits: one that orders no similarities makes the loss NaN."""
    inputs, options = chosen(name, 30, torch.float32)
    images, texts, hard = (None if z is None else z.to(device) for z in inputs)
    options = {key: x.to(device) if isinstance(x, Tensor) else x for key, x in options.items()}

    def loss(scale: Tensor) -> Tensor:
        return clip_loss(images, texts, scale, negative_keys=hard, **options)

    scale = torch.tensor(SCALE, device=device, requires_grad=True)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    found, expected = compiled(scale), loss(scale)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, scale)[0] for each in (found, expected)))
    for function in [compiled] + [loss] * (device.type == "cuda"):
        for bad in (0.0, -SCALE):
            assert function(torch.tensor(bad, device=device, requires_grad=True)).isnan()


def test_module() -> None:
    (images, texts, hard), options = chosen("everything", 20, torch.float32)
    called = {name: options.pop(name) for name in ("image_ids", "text_ids")} | {"negative_keys": hard}
    criterion = CLIPLoss(normalize=True, **options)
    expected = clip_loss(images, texts, SCALE, normalize=True, **options, **called)
    assert criterion(images, texts, SCALE, **called) == expected
    assert criterion(images, texts, SCALE, output_dict=True, **called) == {"contrastive_loss": expected}
    assert not criterion.state_dict()
    assert repr(CLIPLoss()) == "CLIPLoss(world_size=1)"
    shown = f"world_size=1, normalize=True, margin={options['margin']}, label_smoothing=0.2"
    assert repr(criterion) == f"CLIPLoss({shown})"
    cut = clip_loss(images[:, :8], texts[:, :8], SCALE, normalize=True, **options, negative_keys=hard[:, :, :8])
    nested = MatryoshkaLoss(criterion, (8, D))(images, texts, SCALE, negative_keys=hard)
    whole = criterion(images, texts, SCALE, negative_keys=hard)
    torch.testing.assert_close(nested, cut + whole)


GOOD, IDS = torch.ones(4, 3), torch.arange(4)
BAD = [
    ({"image_ids": IDS}, ValueError, "text_ids must be given with image_ids, got None"),
    ({"text_ids": IDS}, ValueError, "image_ids must be given with text_ids, got None"),
    ({"image_ids": IDS.float(), "text_ids": IDS}, TypeError, "image_ids must be an integer tensor, got torch.float32"),
    (
        {"image_ids": IDS, "text_ids": IDS.to_sparse()},
        TypeError,
        "text_ids must be a plain strided tensor, got one of torch.sparse_coo",
    ),
    ({"image_ids": IDS[:2], "text_ids": IDS}, ValueError, "image_ids must have shape (4,), got (2,)"),
    (
        {"image_ids": IDS, "text_ids": IDS.to("meta")},
        ValueError,
        "text_ids must be on cpu, like text_features, got meta",
    ),
    ({"margin": "0.1"}, TypeError, "margin must be a number, got str"),
    ({"margin": math.nan}, ValueError, "margin must be finite, got nan"),
    ({"margin": 0.1, "logit_scale": -2.0}, ValueError, "logit_scale must be positive with a margin, got -2.0"),
    ({"margin": 0.1, "logit_scale": torch.zeros(1)}, ValueError, "logit_scale must be positive with a margin, got 0.0"),
    ({"margin": 0.1, "label_smoothing": 1.5}, ValueError, "label_smoothing must be a probability in [0, 1], got 1.5"),
    ({"margin": 0.1, "tau_plus": 1.0}, ValueError, "tau_plus must be in [0, 1), got 1.0"),
    ({"margin": 0.1, "memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ({"negative_keys": IDS}, TypeError, "negative_keys must be a floating-point tensor, got torch.int64"),
    (
        {"negative_keys": GOOD[0]},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (3,)",
    ),
    (
        {"negative_keys": GOOD[:, :2]},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (4, 2)",
    ),
    (
        {"negative_keys": GOOD[:0]},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (0, 3)",
    ),
    (
        {"negative_keys": torch.ones(3, 2, 3)},
        ValueError,
        "negative_keys must have shape (K, 3) or (4, K, 3) with K >= 1, got (3, 2, 3)",
    ),
    (
        {"negative_keys": GOOD.to("meta")},
        ValueError,
        "negative_keys must be on cpu, like image_features, got meta",
    ),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[b[2] for b in BAD])
def test_errors(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"clip_loss: {text}") + "$"):
        clip_loss(GOOD, GOOD, **{"logit_scale": 1.0, **options})
    if "margin must" in text:
        with pytest.raises(error, match="^" + re.escape(f"CLIPLoss: {text}") + "$"):
            CLIPLoss(**options)
