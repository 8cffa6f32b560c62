"""Label smoothing of info_nce_loss beyond the cases that test_info_nce_negatives.py has with the definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import N, tensors
from loss_oracle import assert_compiles, assert_steady, largest_tensor

from sslfast.losses import InfoNCELoss, clip_loss, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_is_torchs_cross_entropy(smoothing: float) -> None:
    given = tensors()
    query, keys, hard = (F.normalize(given[name], dim=-1) for name in ("query", "keys", "hard"))
    logits = query @ keys.T / 0.1
    rows = torch.arange(N)
    for reduction in ("mean", "sum", "none"):
        expected = F.cross_entropy(logits, rows, reduction=reduction, label_smoothing=smoothing)
        found = info_nce_loss(given["query"], given["keys"], reduction=reduction, label_smoothing=smoothing)
        torch.testing.assert_close(found, expected)
    both = torch.cat([logits, (hard @ query.unsqueeze(2)).squeeze(2) / 0.1], dim=1)
    expected = F.cross_entropy(both, rows, label_smoothing=smoothing)
    found = info_nce_loss(given["query"], given["keys"], given["hard"], in_batch=True, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)
    symmetric = info_nce_loss(given["query"], given["keys"], symmetric=True, label_smoothing=smoothing)
    torch.testing.assert_close(symmetric, clip_loss(query, keys, 10.0, label_smoothing=smoothing))


def test_multiple_negatives_ranking() -> None:
    """All positives and all hard negatives, (K, D), are candidates of every anchor, less those that count as false."""
    anchor, positive, negative = torch.randn(3, 11, 8, dtype=torch.float64)
    sides = [F.normalize(z, dim=1) for z in (anchor, torch.cat([positive, negative]))]
    similar, at = sides[0] @ sides[1].T, torch.arange(11)
    own = similar[at, at].unsqueeze(1)
    logits = (20 * similar).masked_fill(similar > own + 0.1, -torch.inf)
    logits[at, at] = 20 * own[:, 0]
    log_p = F.log_softmax(logits, dim=1)
    counted = log_p.isfinite()
    assert 0 < (~counted).sum() < counted.sum()
    mean = torch.where(counted, log_p, 0.0).sum(dim=1) / counted.sum(dim=1)
    expected = -(0.7 * log_p[at, at] + 0.3 * mean).mean()
    options = {"positives": at, "margin": 0.1, "label_smoothing": 0.3}
    found = info_nce_loss(anchor, torch.cat([positive, negative]), temperature=1 / 20, **options)
    torch.testing.assert_close(found, expected)
    criterion = InfoNCELoss(1 / 20, margin=0.1, label_smoothing=0.3)
    torch.testing.assert_close(criterion(anchor, positive, negative, in_batch=True), expected)


def test_analytic_values() -> None:
    same = torch.ones(8, 3)
    torch.testing.assert_close(info_nce_loss(same, same, label_smoothing=0.5), torch.tensor(8.0).log())
    assert info_nce_loss(same[:1], same[:1], label_smoothing=0.5) == 0  # no candidate but the positive
    assert info_nce_loss(same, same, margin=-0.5, label_smoothing=0.5) == 0  # the same: all negatives are false
    eye = torch.eye(8)  # the positive's logit is 10, the mean of all 8 is 10 / 8
    found = info_nce_loss(eye, eye, label_smoothing=0.5)
    torch.testing.assert_close(found, 0.5 * (10 - 10 / 8) + torch.tensor(7 * 2.0**0).mul(torch.e**-10).log1p())


def test_weights() -> None:
    given, weights = tensors(), torch.rand(N, dtype=torch.float64)
    options = {"label_smoothing": 0.2, "margin": 0.1}
    losses = info_nce_loss(given["query"], given["keys"], reduction="none", **options)
    found = info_nce_loss(given["query"], given["keys"], weights=weights, **options)
    torch.testing.assert_close(found, (losses * weights).sum() / weights.sum())


def test_composes() -> None:
    given = tensors(torch.float32)
    query, keys, ids = given["query"], given["keys"], torch.arange(N) % 20
    for options in ({"margin": 0.1, "symmetric": True}, {"query_ids": ids, "key_ids": ids}):

        def loss(a: torch.Tensor, b: torch.Tensor, options=options) -> torch.Tensor:
            return info_nce_loss(a, b, label_smoothing=0.1, **options)

        assert_steady(loss, query, keys)
        assert_compiles(loss, query, keys)
    other = query.clone().requires_grad_()
    loss = info_nce_loss(other, keys, given["shared"], label_smoothing=0.1, margin=0.1)
    (grad,) = torch.autograd.grad(loss, other, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
        grad.sum().backward()


def test_a_number_that_is_nan_reaches_the_loss() -> None:
    query, keys = torch.randn(2, 9, 4)
    keys[3, 1] = torch.nan
    for options in ({}, {"margin": 0.1}):
        assert info_nce_loss(query, keys, label_smoothing=0.1, **options).isnan()


def test_no_matrix_of_similarities() -> None:
    query, keys = torch.randn(2, 1500, 8)

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return info_nce_loss(a, b, label_smoothing=0.1, margin=0.1, query_negatives=True)

    assert largest_tensor(loss, query, keys) <= 1500**2 / 4


def test_memory_budget_is_shared_by_the_kinds_and_changes_nothing() -> None:
    query, keys = torch.randn(2, 400, 16)
    options = {"in_batch": True, "symmetric": True, "query_negatives": True, "key_negatives": True}
    kept, results = [], []
    for budget in (0, 900_000, 10**9, None):
        sizes: dict[int, int] = {}

        def pack(t: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[t.data_ptr()] = t.numel() * t.element_size()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = info_nce_loss(query.requires_grad_(), keys.requires_grad_(), memory_budget=budget, **options)
        kept.append(sum(size for size in sizes.values() if size > 2 * 400 * 16 * 4))
        results.append([loss.detach(), *torch.autograd.grad(loss, (query, keys))])
        criterion = InfoNCELoss(symmetric=True, query_negatives=True, key_negatives=True, memory_budget=budget)
        assert torch.equal(criterion(query, keys), loss)
    assert kept[0] == 0
    assert 640_000 < kept[1] <= 900_000  # all of the keys' kind and a part of the queries'
    assert 2 * 640_000 <= kept[2] < 1.5 * 2 * 640_000  # a whole matrix and two halves
    assert kept[3] == kept[2]
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_autocast_leaves_the_margin_alone() -> None:
    """A similarity in bfloat16 would fall on the other side of many a limit."""
    query, keys = torch.randn(2, 200, 16)

    def loss() -> torch.Tensor:
        return info_nce_loss(query, keys, temperature=0.05, label_smoothing=0.3, margin=0.1, symmetric=True)

    expected = loss()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(), expected)


@pytest.mark.parametrize("negatives", [(), (600, 1), (96,)], ids=str)
@pytest.mark.parametrize("smoothing", [0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("symmetric", [False, True])
def test_shares_cancel_no_rounded_weights(negatives: tuple[int, ...], smoothing: float, symmetric: bool) -> None:
    """In tiles bfloat16's weights are rounded: all of what is left of them once the shares are taken off would be."""
    inputs = [torch.randn(*shape, 64).bfloat16() for shape in ((600,), (600,), negatives)[: 3 if negatives else 2]]
    options = {"temperature": 1.0, "label_smoothing": smoothing, "symmetric": symmetric, "in_batch": True}

    def gradients(loss: Callable[..., torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        leaves = [z.to(dtype).requires_grad_() for z in inputs]
        return torch.autograd.grad(loss(*leaves, **options).mean(), leaves)

    expected = gradients(reference, torch.float64)
    for found, truth in zip(gradients(info_nce_loss, torch.bfloat16), expected, strict=True):
        assert (found.double() - truth).norm() <= 2.5e-3 * truth.norm()


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_gradient_of_clip_is_rounded_once(normalize: bool, smoothing: float) -> None:
    """Rows near one another: the shares' gradient nearly cancels the softmax's, which may not be rounded before."""
    rows = 0.3 * torch.randn(2, 600, 64) + torch.randn(64)
    images, texts = (z.bfloat16() for z in (rows if normalize else F.normalize(rows, dim=2)))
    leaves, exact = ([z.to(d).requires_grad_() for z in (images, texts)] for d in (torch.bfloat16, torch.float64))
    options = {"normalize": normalize, "label_smoothing": smoothing}
    found = torch.autograd.grad(clip_loss(*leaves, 1 / 0.07, **options), leaves)
    expected = torch.autograd.grad(reference(*exact, None, 0.07, symmetric=True, **options).mean(), exact)
    for f, g in zip(found, expected, strict=True):
        assert (f.double() - g).norm() <= 2.5e-3 * g.norm()
