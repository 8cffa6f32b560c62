"""What holds for contrastive_loss and triplet_loss alike: gradients, strips, torch's machinery, NaN, memory, errors."""

from __future__ import annotations

import itertools
import math
import re
from functools import partial
from typing import Any

import loss_oracle
import pytest
import torch
from loss_oracle import Loss
from margin_oracle import DISTANCES, on, on_references, pair_options

from sslfast.losses import contrastive_loss, triplet_loss
from sslfast.reference.contrastive import contrastive_loss as contrastive_reference
from sslfast.reference.triplet import triplet_loss as triplet_reference

# Loss, its reference, labels that rows have, options. Of 70 labels pairs of one are so few that they are listed.
PAIRS = [(contrastive_loss, contrastive_reference, labels, {}) for labels in (4, 70)]
TRIPLETS = [
    (triplet_loss, triplet_reference, 4, {"margin": 0.4, "mining": mining})
    for mining in ("batch_all", "batch_hard", "semi_hard")
]
CASES = [
    pytest.param(*case, id=f"{case[0].__name__}-{case[3].get('mining', f'{case[2]} labels')}")
    for case in (*PAIRS, *TRIPLETS)
]
each_loss = pytest.mark.parametrize(("loss", "reference", "labels", "options"), CASES)


def with_distance(loss: Loss, distance: str, **options: Any) -> dict[str, Any]:
    return pair_options(distance, **options) if loss is contrastive_loss else {"distance": distance, **options}


@each_loss
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradcheck(loss, reference, labels, options, distance) -> None:
    y, ry = torch.randint(0, labels, (9,)), torch.randint(0, labels, (7,))
    y[0] = y[1] = 0
    z, r = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (9, 7))
    options = with_distance(loss, distance, **options, reduction="sum")
    if loss is contrastive_loss:
        options["squared"] = labels == 4
    assert torch.autograd.gradcheck(on(loss, reference, y, **options)[0], z)
    function = on_references(loss, reference, y, ry, **options)[0]
    for needs in ((True, True), (True, False), (False, True)):
        z.requires_grad_(needs[0]), r.requires_grad_(needs[1])
        assert torch.autograd.gradcheck(function, (z, r))


@each_loss
def test_several_strips_are_one(loss, reference, labels, options, monkeypatch: pytest.MonkeyPatch) -> None:
    y, ry = torch.randint(0, labels, (90,)), torch.randint(0, labels, (70,))
    z, r = torch.randn(90, 6, dtype=torch.float64), torch.randn(70, 6, dtype=torch.float64)
    for (function, _), inputs in (
        (on(loss, reference, y, **options), [z]),
        (on_references(loss, reference, y, ry, **options), [z, r]),
    ):
        whole = loss_oracle.with_grads(function, *inputs)
        with monkeypatch.context() as patch:
            patch.setattr("sslfast.losses._few_rows.MOST_ROWS", 0)
            patch.setattr("sslfast.losses._strips._HELD", 7 * 90)
            patch.setattr("sslfast.losses._pairs._PAIRS", 20)
            for a, b in zip(loss_oracle.with_grads(function, *inputs), whole, strict=True):
                torch.testing.assert_close(a, b)


@each_loss
@pytest.mark.parametrize("distance", DISTANCES)
def test_composes(loss, reference, labels, options, distance) -> None:
    torch.compiler.reset()  # one function here, many options
    y, ry = torch.randint(0, labels, (90,)), torch.randint(0, labels, (70,))
    z, r = torch.randn(90, 8), torch.randn(70, 8)
    options = with_distance(loss, distance, **options)
    for (function, _), inputs in (
        (on(loss, reference, y, **options), [z]),
        (on_references(loss, reference, y, ry, **options), [z, r]),
    ):
        loss_oracle.assert_steady(function, *inputs)
        loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *inputs)
        loss_oracle.assert_compiles(function, *inputs)
    z.requires_grad_()
    (grad,) = torch.autograd.grad(function(z, r), z, create_graph=True)
    with pytest.raises(RuntimeError, match=f"^{loss.__name__}: second derivatives are not supported$"):
        grad.sum().backward()


@each_loss
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss(loss, reference, labels, options, bad: float) -> None:
    y = torch.arange(12) % 3
    function = partial(loss, **options)
    for normalize, row in itertools.product((True, False), (0, 7, 11)):
        z = torch.randn(12, 4)
        z[row, 2] = bad
        assert function(z, y, normalize=normalize).isnan()
        assert function(torch.randn(3, 4), y[:3], normalize=normalize, ref_emb=z, ref_labels=y).isnan()


@each_loss
def test_no_matrix_of_a_large_batch_is_kept(loss, reference, labels, options) -> None:
    per_label = 500 if labels == 4 and loss is contrastive_loss else 4
    y, z = torch.arange(2000) // per_label, torch.randn(2000, 8)
    function, _ = on(loss, reference, y, **options)
    assert loss_oracle.largest_tensor(function, z) <= 2**19
    assert loss_oracle.largest_tensor(function, z) < 2000 * 2000 / 7


Z, Y = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
ONE = torch.tensor([1])
FLOATING = "must be a floating-point tensor"
REFERENCES = {"ref_emb": Z, "ref_labels": Y}
BAD = [
    ([Z.long(), Y], {}, TypeError, f"embeddings {FLOATING}, got torch.int64"),
    ([Z[:0], Y[:0]], {}, ValueError, "embeddings must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([Z, None], {}, TypeError, "labels must be an integer tensor, got NoneType"),
    ([Z, Y[:3]], {}, ValueError, "labels must have shape (4,), got (3,)"),
    ([Z, Y.to("meta")], {}, ValueError, "labels must be on cpu, like embeddings, got meta"),
    ([Z, Y], {"normalize": None}, TypeError, "normalize must be a bool, got None"),
    (
        [Z, Y],
        {"distance": "l2"},
        ValueError,
        "distance must be 'euclidean', 'squared_euclidean' or 'cosine', got 'l2'",
    ),
    ([Z, Y], {"reduction": "none"}, ValueError, "reduction must be 'mean_nonzero', 'mean' or 'sum', got 'none'"),
    ([Z, Y], {"ref_labels": Y}, ValueError, "ref_emb must be given with ref_labels, got None"),
    ([Z, Y], {"ref_emb": Z}, ValueError, "ref_labels must be given with ref_emb, got None"),
    ([Z, Y], REFERENCES | {"ref_emb": "z"}, TypeError, f"ref_emb {FLOATING}, got str"),
    ([Z, Y], REFERENCES | {"ref_emb": Y}, TypeError, f"ref_emb {FLOATING}, got torch.int64"),
    (
        [Z, Y],
        REFERENCES | {"ref_emb": Z[:, :2]},
        ValueError,
        "ref_emb must have shape (M, 3), like embeddings, got (4, 2)",
    ),
    (
        [Z, Y],
        REFERENCES | {"ref_emb": Z.to("meta")},
        ValueError,
        "ref_emb must be on cpu, like embeddings, got meta",
    ),
    ([Z, Y], REFERENCES | {"ref_labels": Y[:2]}, ValueError, "ref_labels must have shape (4,), got (2,)"),
    ([Z, Y], REFERENCES | {"copies": Y + 4}, ValueError, "copies must be in [-1, 3], rows of ref_emb, got 4"),
    (
        [Z, Y],
        {"indices_tuple": (ONE, ONE, ONE.to("meta"))},
        ValueError,
        "indices_tuple must be on cpu, like embeddings, got meta",
    ),
    ([Z, Y], REFERENCES | {"gather_distributed": True}, ValueError, "gather_distributed goes without ref_emb"),
    (
        [Z, Y],
        {"indices_tuple": (ONE, ONE, ONE), "gather_distributed": True},
        ValueError,
        "gather_distributed goes without indices_tuple",
    ),
]


@pytest.mark.parametrize("loss", [contrastive_loss, triplet_loss], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(loss, args, kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{loss.__name__}: {text}") + "$"):
        loss(*args, **kwargs)
