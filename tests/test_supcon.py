"""SupConLoss and supcon_loss against the definition, pytorch-metric-learning, NT-Xent and analytic values."""

from __future__ import annotations

import functools
import math
import re

import pytest
import torch
from loss_oracle import (
    assert_has_values_of,
    assert_like_reference,
    assert_steady,
    with_grads,
)
from peer_oracle import peer

from sslfast.losses import SupConLoss, _few_rows, nt_xent_loss, supcon_loss
from sslfast.reference.supcon import supcon_loss as reference


# N, D, labels, temperature: pairs and singles; one label; all alone; several tiles; low and negative temperature.
@pytest.mark.parametrize(
    ("n", "d", "labels", "temperature"),
    [(10, 5, 4, 0.5), (20, 7, 1, 0.1), (1, 3, 1, 0.1), (600, 20, 70, 0.1), (40, 16, 6, 0.01), (9, 8, 3, -0.5)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n, d, labels, temperature, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    y = 7 * torch.randint(0, labels, (n,)) - 3  # any values

    def ours(z: torch.Tensor) -> torch.Tensor:
        return supcon_loss(z, y.to(z.device), temperature)

    inputs = [torch.randn(n, d, dtype=dtype)]
    factor = 32 / min(1.0, abs(temperature))
    assert_like_reference(ours, lambda z: reference(z, y, temperature), inputs, device, factor=factor)


def test_is_pytorch_metric_learnings() -> None:
    theirs = peer("pytorch_metric_learning.losses").SupConLoss
    y = torch.randint(0, 8, (30,))  # some alone
    z = torch.randn(30, 6, dtype=torch.float64)
    assert_has_values_of(lambda x: theirs(0.2)(x, y), lambda x: SupConLoss(0.2)(x, y), [z])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("n", [1, 6])
def test_nan_and_inf_reach_the_loss_where_no_row_has_a_positive(bad: float, n: int) -> None:
    z = torch.randn(n, 3)
    z[-1, 1] = bad
    assert supcon_loss(z, torch.arange(n)).isnan()


def test_pairs_are_nt_xent() -> None:
    z0, z1 = torch.randn(2, 9, 5, dtype=torch.float64)
    labels = torch.arange(9).repeat(2)
    torch.testing.assert_close(supcon_loss(torch.cat([z0, z1]), labels, 0.3), nt_xent_loss(z0, z1, 0.3))


def test_rows_alone_are_negatives_only() -> None:
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert supcon_loss(z, torch.arange(5)) == 0
    labels = torch.tensor([0, 0, 1, 2, 3])
    loss = supcon_loss(z, labels)
    (grad,) = torch.autograd.grad(loss, z)
    assert (grad.abs().sum(1) > 0).all()  # those that are alone are pushed away all the same


def test_analytic_values() -> None:
    one = torch.ones(6, 3)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    torch.testing.assert_close(supcon_loss(one, labels), torch.tensor(math.log(5)))
    two = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    expected = math.log(math.exp(1 / 0.5) + 2) - 1 / 0.5
    torch.testing.assert_close(supcon_loss(two, torch.tensor([0, 0, 1, 1]), 0.5), torch.tensor(expected))


def test_small_losses_of_pairs_keep_their_precision() -> None:
    eye = torch.eye(9, requires_grad=True)
    labels = torch.tensor([*range(8), *range(8), 8])  # the last row is alone: a negative
    loss = supcon_loss(eye[labels], labels, 0.025)
    torch.testing.assert_close(loss, torch.tensor(15 * math.exp(-40)))  # lost in a log-sum-exp with the positive
    (grad,) = torch.autograd.grad(loss, eye)
    torch.testing.assert_close(grad[0, 1], torch.tensor(40 * 2 * 4 * math.exp(-40) / 16))


def test_what_labels_are_makes_no_difference() -> None:
    # 3, 2 and 1 rows of a label; such that differ by 2^32 are the same in 32 bits, and in float64 the last two are one.
    y = torch.tensor([0, 1, 0, 2, 1, 0, 3, 3, 3, 3])
    names = torch.tensor([-(2**63), -7, 2**32 - 7, 2**63 - 1])
    z, r = (torch.randn(10, 5, dtype=torch.float64) for _ in range(2))
    same = torch.tensor([0, 1, 2**53 + 1, 2**53])
    for other in (names, same):
        for function, found in (
            (lambda z, r: supcon_loss(z, y), lambda z, r, o=other: supcon_loss(z, o[y])),
            (
                lambda z, r: supcon_loss(z, y, ref_emb=r, ref_labels=y.flip(0)),
                lambda z, r, o=other: supcon_loss(z, o[y], ref_emb=r, ref_labels=o[y.flip(0)]),
            ),
        ):
            inputs = [z.clone().requires_grad_(), r.clone().requires_grad_()]
            expected, loss = function(*inputs), found(*inputs)
            torch.testing.assert_close(loss, expected)
            grads = (torch.autograd.grad(value, inputs, allow_unused=True) for value in (loss, expected))
            for a, b in zip(*grads, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    torch.testing.assert_close(a, b)


# Groups of several rows beside pairs and singles: what a row weighs depends on the size of its group.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("few", [True, False])
def test_late_in_training_with_groups_of_all_sizes(
    dtype: torch.dtype, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not few:
        monkeypatch.setattr(_few_rows, "MOST_ROWS_SUPCON", 0)
    y = torch.repeat_interleave(torch.arange(40), torch.arange(40) % 8 + 1)[torch.randperm(40 * 9 // 2)]
    eye = torch.linalg.qr(torch.randn(64, 40, dtype=torch.float64))[0].T
    z = (eye[y] + 0.003 * torch.randn(len(y), 64, dtype=torch.float64)).to(dtype)
    truth = with_grads(lambda x: reference(x, y, 0.05), z.double())
    plain = with_grads(lambda x: reference(x, y, 0.05), z.float())
    found = with_grads(lambda x: supcon_loss(x, y, 0.05), z)
    torch.testing.assert_close(found[0].double(), truth[0], rtol=1e-6, atol=2e-6)
    rounding = 2.5e-3 if dtype == torch.bfloat16 else 5e-6
    error = (found[1].double() - truth[1]).norm()
    assert error <= 1.5 * (plain[1].double() - truth[1]).norm() + rounding * truth[1].norm()


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_labels_of_any_integer_type_and_order(dtype: torch.dtype) -> None:
    z, labels = torch.randn(12, 4), torch.randint(0, 4, (12,))
    order = torch.randperm(12)
    torch.testing.assert_close(supcon_loss(z[order], labels[order].to(dtype)), supcon_loss(z, labels))


def test_gradcheck() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    z = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(functools.partial(supcon_loss, labels=labels, temperature=0.3), z)


def test_composes() -> None:
    z, labels = torch.randn(12, 8), torch.randint(0, 4, (12,))
    function = functools.partial(supcon_loss, labels=labels)
    assert_steady(function, z)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z), function(z))
    z.requires_grad_()
    (grad,) = torch.autograd.grad(function(z), z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^supcon_loss: second derivatives are not supported$"):
        grad.sum().backward()
    z.data[3, 1] = math.nan
    assert function(z).isnan()
    assert "temperature=0.2" in repr(SupConLoss(0.2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_budget_bounds_what_is_kept_and_changes_nothing(dtype: torch.dtype) -> None:
    z, labels = torch.randn(800, 16).to(dtype), torch.arange(800) % 200
    kept, results = [], []
    for budget in (0, 500_000, 10**9, None):
        sizes = []

        def pack(t: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = supcon_loss(z.requires_grad_(), labels, 0.1, memory_budget=budget)
        kept.append(max(sizes))
        results.append([loss.detach(), *torch.autograd.grad(loss, z)])
        assert torch.equal(SupConLoss(memory_budget=budget)(z, labels), loss)
    assert kept[0] <= 800 * 16 * 4  # rows, labels and sums
    assert 400_000 < kept[1] <= 500_000
    assert 4 * 800**2 / 2 <= kept[2] < 1.4 * 4 * 800**2 / 2  # half the similarities
    assert kept[3] <= 2 * 2**20
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


GOOD, LABELS = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
BAD = [
    ([GOOD.long(), LABELS], {}, TypeError, "embeddings must be a floating-point tensor, got torch.int64"),
    ([GOOD[:0], LABELS[:0]], {}, ValueError, "embeddings must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD[0], LABELS], {}, ValueError, "embeddings must have shape (N, D) with N, D >= 1, got (3,)"),
    ([None, LABELS], {}, TypeError, "embeddings must be a floating-point tensor, got NoneType"),
    ([GOOD, LABELS], {"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ([GOOD, LABELS], {"memory_budget": "all"}, TypeError, "memory_budget must be an int, got str"),
    ([GOOD, LABELS[None]], {}, ValueError, "labels must have shape (4,), got (1, 4)"),
    ([GOOD, LABELS.bool()], {}, TypeError, "labels must be an integer tensor, got torch.bool"),
    ([GOOD, LABELS, math.nan], {}, ValueError, "temperature must be finite, got nan"),
    ([GOOD, LABELS, math.inf], {}, ValueError, "temperature must be finite, got inf"),
    ([GOOD, LABELS, "1"], {}, TypeError, "temperature must be a number, got str"),
    ([GOOD, LABELS[:3]], {}, ValueError, "labels must have shape (4,), got (3,)"),
    ([GOOD, LABELS.float()], {}, TypeError, "labels must be an integer tensor, got torch.float32"),
    ([GOOD, [0, 1, 2, 3]], {}, TypeError, "labels must be an integer tensor, got list"),
    ([GOOD, LABELS.to("meta")], {}, ValueError, "labels must be on cpu, like embeddings, got meta"),
    ([GOOD, LABELS], {"ref_emb": GOOD}, ValueError, "ref_labels must be given with ref_emb, got None"),
    ([GOOD, LABELS], {"ref_labels": LABELS}, ValueError, "ref_emb must be given with ref_labels, got None"),
    (
        [GOOD, LABELS],
        {"ref_emb": GOOD[:, :2], "ref_labels": LABELS},
        ValueError,
        "ref_emb must have shape (M, 3), like embeddings, got (4, 2)",
    ),
    (
        [GOOD, LABELS],
        {"ref_emb": GOOD, "ref_labels": LABELS.float()},
        TypeError,
        "ref_labels must be an integer tensor, got torch.float32",
    ),
    (
        [GOOD, LABELS],
        {"ref_emb": GOOD, "ref_labels": LABELS, "gather_distributed": True},
        ValueError,
        "gather_distributed goes without ref_emb",
    ),
    ([GOOD, LABELS, 0.0], {}, ValueError, "temperature must be at least 1e-8 in absolute value, got 0.0"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"supcon_loss: {text}") + "$"):
        supcon_loss(*args, **kwargs)
