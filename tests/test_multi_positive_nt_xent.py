"""MultiPositiveNTXentLoss against the definition, pytorch-metric-learning, NT-Xent and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import MultiPositiveNTXentLoss, multi_positive_nt_xent_loss, nt_xent_loss
from sslfast.reference.multi_positive_nt_xent import multi_positive_nt_xent_loss as reference


def on(y: Tensor, temperature: float):
    def ours(z: Tensor) -> Tensor:
        return multi_positive_nt_xent_loss(z, y.to(z.device), temperature)

    return ours, lambda z: reference(z, y, temperature)


def on_references(y: Tensor, ry: Tensor, temperature: float):
    """Embeddings and references are both inputs with a gradient."""

    def ours(z: Tensor, r: Tensor) -> Tensor:
        return multi_positive_nt_xent_loss(z, y.to(z.device), temperature, ref_emb=r, ref_labels=ry.to(z.device))

    return ours, lambda z, r: reference(z, y, temperature, r, ry)


# N, D, labels, temperature: pairs and singles, one by one; few labels, in strips; one label; all alone; N = 1; many
# tiles; low and negative temperature.
SIZES = [
    (30, 5, 20, 0.5),
    (20, 7, 3, 0.1),
    (20, 7, 1, 0.1),
    (9, 7, 10**6, 0.1),
    (1, 3, 1, 0.1),
    (600, 20, 70, 0.1),
    (40, 16, 6, 0.01),
    (30, 8, 20, -0.5),
]


@pytest.mark.parametrize(("n", "d", "labels", "temperature"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n, d, labels, temperature, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    y, ry = (7 * torch.randint(0, labels, (k,)) - 3 for k in (n, 33))  # any values
    z, r = torch.randn(n, d, dtype=dtype), torch.randn(33, d, dtype=dtype)
    factor = 32 / min(1.0, abs(temperature))
    loss_oracle.assert_like_reference(*on(y, temperature), [z], device, factor=factor)
    loss_oracle.assert_like_reference(*on_references(y, ry, temperature), [z, r], device, factor=factor)


@pytest.mark.parametrize("labels", [3, 30])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(labels: int, dtype: torch.dtype) -> None:
    y, ry = torch.randint(0, labels, (40,)), torch.randint(0, labels, (30,))
    z, r = torch.randn(40, 8).to(dtype), torch.randn(30, 8).to(dtype)
    loss_oracle.assert_half_is_like_reference(*on(y, 0.2), [z], slack=1 / 4)
    loss_oracle.assert_half_is_like_reference(*on_references(y, ry, 0.2), [z, r], slack=1 / 4)


@pytest.mark.parametrize("labels", [1, 4, 20])
def test_is_pytorch_metric_learnings(labels: int) -> None:
    theirs, ours = peer("pytorch_metric_learning.losses").NTXentLoss(0.2), MultiPositiveNTXentLoss(0.2)
    y, ry = torch.randint(0, labels, (30,)), torch.randint(0, labels, (20,))
    z, r = torch.randn(30, 6, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64)
    loss_oracle.assert_has_values_of(lambda x: theirs(x, y), lambda x: ours(x, y), [z])
    loss_oracle.assert_has_values_of(
        lambda x, c: theirs(x, y, None, c, ry) + 0 * c.sum(), lambda x, c: ours(x, y, None, c, ry), [z, r]
    )


def test_a_nan_reaches_the_loss_where_no_row_has_a_pair() -> None:
    z = torch.randn(5, 3)
    assert multi_positive_nt_xent_loss(z, torch.arange(5)) == 0
    z[2, 1] = float("nan")
    assert multi_positive_nt_xent_loss(z, torch.arange(5)).isnan()


def test_has_pytorch_metric_learnings_arguments() -> None:
    theirs = peer("pytorch_metric_learning.losses").NTXentLoss
    assert theirs().temperature == MultiPositiveNTXentLoss().temperature
    signatures = (loss_oracle.inspect.signature(cls.forward).parameters for cls in (MultiPositiveNTXentLoss, theirs))
    ours, their = (list(signature) for signature in signatures)
    assert ours == [*their, "copies"]


def test_pairs_are_nt_xent() -> None:
    z0, z1 = torch.randn(2, 9, 5, dtype=torch.float64)
    loss = multi_positive_nt_xent_loss(torch.cat([z0, z1]), torch.arange(9).repeat(2), 0.3)
    torch.testing.assert_close(loss, nt_xent_loss(z0, z1, 0.3))


def test_analytic_values() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    # Three anchors with two positives among 1 + 3, two with one among 1 + 4; the last is alone.
    expected = (6 * math.log(4) + 2 * math.log(5)) / 8
    torch.testing.assert_close(multi_positive_nt_xent_loss(torch.ones(6, 3), labels), torch.tensor(expected))
    eye = torch.eye(4).repeat_interleave(2, dim=0)  # the positive at 1 / t, six negatives at 0
    for temperature in (0.5, 0.02):  # exp(-50): lost wherever 1 is added to it
        loss = multi_positive_nt_xent_loss(eye, torch.arange(8) // 2, temperature)
        torch.testing.assert_close(loss, torch.tensor(math.log1p(6 * math.exp(-1 / temperature))), atol=0.0, rtol=1e-5)
    far = multi_positive_nt_xent_loss(torch.eye(2).repeat(2, 1), torch.tensor([0, 0, 1, 1]), 0.005)
    torch.testing.assert_close(far, torch.tensor(200.0))  # log(1 + exp(200)): no end at the smallest number's log


@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.int64), torch.arange(6)], ids=["one label", "all alone"])
def test_nothing_to_compare_gives_zero(labels: Tensor) -> None:
    z = torch.randn(6, 3, requires_grad=True)
    loss = multi_positive_nt_xent_loss(z, labels)
    assert loss == 0
    assert not torch.autograd.grad(loss, z)[0].any()


@pytest.mark.parametrize("labels", [2, 12])
def test_gradcheck(labels: int) -> None:
    y, ry = torch.randint(0, labels, (12,)), torch.randint(0, labels, (15,))
    z, r = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (12, 15))
    assert torch.autograd.gradcheck(on(y, 0.3)[0], z)
    for needs in ((True, True), (True, False), (False, True)):
        z.requires_grad_(needs[0]), r.requires_grad_(needs[1])
        assert torch.autograd.gradcheck(on_references(y, ry, 0.3)[0], (z, r))


@pytest.mark.parametrize("labels", [3, 40])
def test_several_chunks_are_one(labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    y, ry = torch.randint(0, labels, (50,)), torch.randint(0, labels, (70,))
    z, r = torch.randn(50, 6, dtype=torch.float64), torch.randn(70, 6, dtype=torch.float64)
    for (function, _), inputs in ((on(y, 0.3), [z]), (on_references(y, ry, 0.3), [z, r])):
        whole = loss_oracle.with_grads(function, *inputs)
        with monkeypatch.context() as patch:
            patch.setattr("sslfast.losses._few_rows.MOST_ROWS", 0)
            patch.setattr("sslfast.losses._strips._HELD", 300)
            patch.setattr("sslfast.losses._strips._PAIRS", 7)
            parts = loss_oracle.with_grads(function, *inputs)
        for a, b in zip(parts, whole, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("labels", [3, 40])
def test_composes(labels: int) -> None:
    y, ry = torch.randint(0, labels, (40,)), torch.randint(0, labels, (30,))
    z, r = torch.randn(40, 8), torch.randn(30, 8)
    for (function, _), inputs in ((on(y, 0.3), [z]), (on_references(y, ry, 0.3), [z, r])):
        loss_oracle.assert_steady(function, *inputs)
        loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *inputs)
        loss_oracle.assert_compiles(function, *inputs)
    z.requires_grad_()
    (grad,) = torch.autograd.grad(function(z, r), z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^multi_positive_nt_xent_loss: second derivatives are not supported$"):
        grad.sum().backward()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("labels", [3, 40])
def test_nan_and_inf_reach_the_loss(bad: float, labels: int) -> None:
    y = torch.randint(0, labels, (40,))
    for row in (0, 17, 39):
        z = torch.randn(40, 4)
        z[row, 2] = bad
        assert multi_positive_nt_xent_loss(z, y).isnan()
        assert multi_positive_nt_xent_loss(torch.randn(40, 4), y, ref_emb=z, ref_labels=y).isnan()


@pytest.mark.parametrize("labels", [10, 500])
def test_no_matrix_of_a_large_batch_is_kept(labels: int) -> None:
    function, _ = on(torch.arange(2000) % labels, 0.3)
    assert loss_oracle.largest_tensor(function, torch.randn(2000, 8)) <= 2**19


def test_module() -> None:
    z, y = torch.randn(8, 3), torch.arange(8) % 4
    assert MultiPositiveNTXentLoss(0.2, gather_distributed=True)(z, y) == multi_positive_nt_xent_loss(z, y, 0.2)
    assert repr(MultiPositiveNTXentLoss()) == "MultiPositiveNTXentLoss(temperature=0.07, gather_distributed=False)"
    with pytest.raises(TypeError, match=r"^MultiPositiveNTXentLoss: temperature must be a number, got NoneType$"):
        MultiPositiveNTXentLoss(None)


def test_memory_budget_bounds_what_is_kept_and_changes_nothing() -> None:
    z, labels = torch.randn(600, 16), torch.arange(600) // 2
    kept, results = [], []
    for budget in (0, 300_000, 10**9, None):
        sizes = [0]

        def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = multi_positive_nt_xent_loss(z.requires_grad_(), labels, 0.1, memory_budget=budget)
        kept.append(max(sizes))
        results.append([loss.detach(), *torch.autograd.grad(loss, z)])
        assert torch.equal(MultiPositiveNTXentLoss(0.1, memory_budget=budget)(z, labels), loss)
    assert kept[0] <= 600 * 16 * 4  # rows
    assert 200_000 < kept[1] <= 300_000
    assert kept[2] == kept[3] == 4 * 600**2
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


Z, Y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
BAD = [
    ([Z, Y], {"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ([Z, Y], {"memory_budget": "all"}, TypeError, "memory_budget must be an int, got str"),
    (
        [Z, Y],
        {"gather_distributed": "rings"},
        ValueError,
        "gather_distributed must be False, True, 'local', 'all_gather' or 'ring', got 'rings'",
    ),
    ([Z.long(), Y], {}, TypeError, "embeddings must be a floating-point tensor, got torch.int64"),
    ([Z[:0], Y[:0]], {}, ValueError, "embeddings must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([Z, Y[:3]], {}, ValueError, "labels must have shape (4,), got (3,)"),
    ([Z, None], {}, TypeError, "labels must be an integer tensor, got NoneType"),
    ([Z, Y.to("meta")], {}, ValueError, "labels must be on cpu, like embeddings, got meta"),
    ([Z, Y], {"ref_emb": Z}, ValueError, "ref_labels must be given with ref_emb, got None"),
    ([Z, Y], {"ref_labels": Y}, ValueError, "ref_emb must be given with ref_labels, got None"),
    ([Z, Y], {"ref_emb": [1], "ref_labels": Y}, TypeError, "ref_emb must be a floating-point tensor, got list"),
    ([Z, Y], {"ref_emb": Z, "ref_labels": Y[:2]}, ValueError, "ref_labels must have shape (4,), got (2,)"),
    (
        [Z, Y],
        {"ref_emb": Z, "ref_labels": Y, "gather_distributed": True},
        ValueError,
        "gather_distributed goes without ref_emb",
    ),
    ([Z, Y, 0.0], {}, ValueError, "temperature must be at least 1e-8 in absolute value, got 0.0"),
    ([Z, Y, "1"], {}, TypeError, "temperature must be a number, got str"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"multi_positive_nt_xent_loss: {text}") + "$"):
        multi_positive_nt_xent_loss(*args, **kwargs)
