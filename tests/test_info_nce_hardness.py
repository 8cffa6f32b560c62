"""Hard negatives and queries of keys in info_nce_loss, against sentence-transformers' sums written out, beyond what
test_info_nce_negatives.py has with the definition.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import N, tensors
from loss_oracle import assert_compiles, assert_steady, assert_takes_strides_and_mixed_dtypes, largest_tensor
from torch import Tensor

from sslfast.losses import InfoNCELoss, _few_pairs, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

MODES = (None, "in_batch_negatives", "hard_negatives", "all_negatives")
DIRECTIONS = ("query_to_query", "doc_to_query", "doc_to_doc")


def ranking(
    anchor: Tensor, docs: list[Tensor], scale: Tensor, mode: str | None, strength: float, directions: tuple[str, ...]
) -> Tensor:
    """Multiple negatives ranking, its joint sum: docs are the positives and perhaps hard negatives of every anchor.

    As the library has it but for one thing: in ``"doc_to_query"`` the positive pair does not count a second time.
    """
    n, every = len(anchor), torch.cat(docs)
    a, d, p = (F.normalize(z, dim=1) for z in (anchor, every, docs[0]))
    own = torch.eye(n, dtype=torch.bool)
    own_docs = own.repeat(1, len(docs))
    negatives = own_docs.clone()
    negatives[:, :n] = False  # the anchor's own hard negatives
    hard = {
        None: torch.zeros_like(own_docs),
        "in_batch_negatives": ~own_docs,
        "hard_negatives": negatives,
        "all_negatives": ~own_docs | negatives,
    }[mode]
    similar = a @ d.T
    sums = [scale * similar + strength * hard * similar.detach()]
    if "query_to_query" in directions:
        sums.append((scale * a @ a.T).masked_fill(own, -torch.inf))
    if "doc_to_query" in directions:
        sums.append((scale * p @ a.T).masked_fill(own, -torch.inf))
    if "doc_to_doc" in directions:
        sums.append((scale * p @ d.T).masked_fill(own_docs, -torch.inf))
    return (torch.cat(sums, dim=1).logsumexp(dim=1) - scale * similar[own_docs & ~negatives]).mean()


@pytest.fixture(params=["few", "tiles"])
def path(request, monkeypatch) -> None:
    if request.param == "tiles":
        monkeypatch.setattr(_few_pairs, "_MOST", 0)


RANKINGS = [
    (pairs, mode, directions)
    for pairs, mode in itertools.product((True, False), MODES)
    for directions in ((), *((each,) for each in DIRECTIONS), DIRECTIONS)
    if not (pairs and mode == "hard_negatives")  # there are none, which is an error
]


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize(("pairs", "mode", "directions"), RANKINGS, ids=str)
def test_is_multiple_negatives_ranking(
    pairs: bool, mode: str | None, directions: tuple[str, ...], tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An anchor's own hard negatives are ``negative_keys``; ids take them out of those of all others."""
    if tiles:
        monkeypatch.setattr(_few_pairs, "_MOST", 0)
    n = 13
    anchor, noise, negative = torch.randn(3, n, 8, dtype=torch.float64)
    docs = [anchor + noise] if pairs else [anchor + noise, anchor - noise, negative]
    options: dict[str, Any] = {
        "query_negatives": "query_to_query" in directions,
        "key_to_query_negatives": "doc_to_query" in directions,
        "key_negatives": "doc_to_doc" in directions,
    }
    if mode is not None:
        options |= {"hardness_mode": mode, "hardness_strength": 9.0}
    at = torch.arange(n)
    if not pairs:
        options |= {"in_batch": True, "positives": at, "query_ids": at, "key_ids": at.repeat(3)}
    found, expected = [], []
    for results in (found, expected):
        leaves = [z.clone().requires_grad_() for z in (anchor, *docs)]
        scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
        if results is expected:
            loss = ranking(leaves[0], leaves[1:], scale, mode, 9.0 if mode else 0.0, directions)
        else:
            own = None if pairs else torch.stack(leaves[2:], dim=1)
            loss = info_nce_loss(leaves[0], torch.cat(leaves[1:]), own, 1 / scale, **options)
        results += [loss, *torch.autograd.grad(loss, [*leaves, scale])]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


@pytest.mark.parametrize("mode", ["in_batch_negatives", "hard_negatives"])
def test_is_multiple_negatives_ranking_per_direction(mode: str) -> None:
    """Each direction has its softmax, and the positive in it: with hard negatives a call each, as no mode is about the
    anchors that a document is told apart by.
    """
    n, scale = 13, 20.0
    anchor, noise, negative = torch.randn(3, n, 8, dtype=torch.float64)
    found, expected = [], []
    for results in (found, expected):
        leaves = [z.clone().requires_grad_() for z in (anchor, anchor + noise, anchor - noise, negative)]
        query, positive, *negatives = leaves
        at = torch.arange(n)
        if results is expected:
            back = scale * F.normalize(positive, dim=1) @ F.normalize(query, dim=1).T
            of_docs = (back.logsumexp(dim=1) - back.diagonal()).mean()
            loss = (ranking(query, leaves[1:], torch.tensor(scale), mode, 9.0, ()) + of_docs) / 2
        else:
            options = {"query_ids": at, "key_ids": at.repeat(3), "hardness_mode": mode, "hardness_strength": 9.0}
            docs, own = torch.cat(leaves[1:]), torch.stack(negatives, dim=1)
            of_queries = info_nce_loss(query, docs, own, 1 / scale, positives=at, in_batch=True, **options)
            loss = (of_queries + info_nce_loss(positive, query, temperature=1 / scale)) / 2
        results += [loss, *torch.autograd.grad(loss, leaves)]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


@pytest.mark.parametrize("n", [1, 2, 200, 513])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.3, 0.01])
@pytest.mark.parametrize("options", [{"reduction": "sum"}, {"positives": True}, {"normalize": False}], ids=str)
def test_few_pairs_and_more_are_the_definition(
    n: int, dtype: torch.dtype, temperature: float, options: dict[str, Any]
) -> None:
    options, wide = dict(options), torch.promote_types(dtype, torch.float32)
    query, keys = torch.randn(n, 6).to(dtype), torch.randn(n, 6).to(dtype)
    if options.pop("positives", False):
        keys = torch.cat([keys, torch.randn(5, 6).to(dtype)])
        options["positives"] = torch.randint(n + 5, (n,), dtype=torch.int32)
    number = torch.tensor(temperature, dtype=wide)
    largest = 1.0 if options.get("normalize", True) else (query.double() @ keys.double().T).abs().max().item()
    for more in (
        {"hardness_mode": "in_batch_negatives", "hardness_strength": 2.5},
        {"key_to_query_negatives": True},
        {"key_to_query_negatives": True, "hardness_mode": "all_negatives", "hardness_strength": 2.5},
    ):
        leaves = [z.clone().requires_grad_() for z in (query, keys, number)]
        found = info_nce_loss(*leaves[:2], temperature=leaves[2], **options, **more)
        results = [found, *torch.autograd.grad(3 * found, leaves)]
        by_number = info_nce_loss(query, keys, temperature=number.item(), **options, **more)
        torch.testing.assert_close(by_number, found.detach())
        truth = [z.double().requires_grad_() for z in (query, keys, number)]
        rest = {name: z.long() if isinstance(z, Tensor) else z for name, z in options.items() if name != "reduction"}
        losses = reference(truth[0], truth[1], temperature=truth[2], in_batch=True, **rest, **more)
        expected = losses.sum() if "reduction" in options else losses.mean()
        grads = torch.autograd.grad(3 * expected, truth)
        for f, e in zip(results, (expected, *grads), strict=True):
            assert f.dtype in (dtype, wide)
            # Of float32 that of logits, which similarities make large; of bfloat16 once more when 3 is multiplied by.
            rounding = max(1e-6, 6e-8 * largest / temperature)
            close = {torch.float64: 1e-13, torch.float32: rounding, torch.bfloat16: 4e-3}[f.dtype]
            assert (f.double() - e).norm() <= close * max(0.1, e.norm().item())


def test_analytic_values() -> None:
    same = torch.ones(8, 3)
    hard = {"hardness_mode": "in_batch_negatives", "hardness_strength": 2.0}
    e = torch.tensor(2.0).exp()
    torch.testing.assert_close(info_nce_loss(same, same, **hard), torch.log(1 + 7 * e))
    torch.testing.assert_close(info_nce_loss(same, same, key_to_query_negatives=True), torch.tensor(15.0).log())
    torch.testing.assert_close(info_nce_loss(same, same, key_to_query_negatives=True, **hard), torch.log(8 + 7 * e))
    # The two candidates are of similarity 1 and -1: the penalty makes the second lighter.
    query, keys = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])
    found = info_nce_loss(query, keys, temperature=1.0, **hard)
    torch.testing.assert_close(found, torch.tensor(-4.0).exp().log1p())
    eye = torch.eye(8)  # a small loss keeps its precision
    torch.testing.assert_close(info_nce_loss(eye, eye, temperature=1 / 40, **hard), 7 * torch.tensor(-40.0).exp())
    assert info_nce_loss(eye[:1], eye[:1], key_to_query_negatives=True, **hard) == 0  # no negative


def test_the_positive_pair_counts_twice_as_a_hard_negative() -> None:
    """As sentence-transformers' joint sum has it, and GTE's paper."""
    query, keys = torch.randn(2, 9, 5, dtype=torch.float64)
    similar = F.normalize(query, dim=1) @ F.normalize(keys, dim=1).T / 0.05
    expected = (torch.cat([similar, similar.T], dim=1).logsumexp(dim=1) - similar.diagonal()).mean()
    options: dict[str, Any] = {"temperature": 0.05, "in_batch": True, "key_to_query_negatives": True}
    torch.testing.assert_close(info_nce_loss(query, keys, keys.unsqueeze(1), **options), expected)


def test_no_strength_is_no_hardness() -> None:
    given = tensors()
    query, keys, hard = (given[name] for name in ("query", "keys", "hard"))
    plain = info_nce_loss(query, keys, hard, in_batch=True)
    for mode in MODES[1:]:
        found = info_nce_loss(query, keys, hard, in_batch=True, hardness_mode=mode, hardness_strength=0)
        assert torch.equal(found, plain)
    for options in ({"temperature": -0.5}, {"tau_plus": 0.1}):  # which are refused with a strength
        found = info_nce_loss(query, keys, hardness_mode="all_negatives", **options)
        torch.testing.assert_close(found, info_nce_loss(query, keys, **options))


def test_weights_and_reductions(path) -> None:
    given, weights = tensors(), torch.rand(N, dtype=torch.float64)
    options = {"hardness_mode": "in_batch_negatives", "hardness_strength": 4.0, "key_to_query_negatives": True}
    losses = info_nce_loss(given["query"], given["keys"], reduction="none", **options)
    for reduction, total in (("mean", losses.mean()), ("sum", losses.sum())):
        torch.testing.assert_close(info_nce_loss(given["query"], given["keys"], reduction=reduction, **options), total)
    found = info_nce_loss(given["query"], given["keys"], weights=weights, **options)
    torch.testing.assert_close(found, (losses * weights).sum() / weights.sum())


def test_module_is_the_function() -> None:
    given = tensors()
    options = {"key_to_query_negatives": True, "hardness_mode": "all_negatives", "hardness_strength": 3.0}
    criterion = InfoNCELoss(0.2, **options)
    hard = "hardness_mode='all_negatives', hardness_strength=3.0"
    assert repr(criterion).endswith(f"symmetric=False, key_to_query_negatives=True, {hard})")
    found = criterion(given["query"], given["keys"], given["hard"], in_batch=True)
    assert torch.equal(
        found, info_nce_loss(given["query"], given["keys"], given["hard"], 0.2, in_batch=True, **options)
    )


def test_queries_that_share_a_key() -> None:
    """Of a key that several queries share, the other queries are negatives of each."""
    query, keys = torch.randn(5, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    at = torch.tensor([2, 0, 0, 1, 2])
    options = {"positives": at, "key_to_query_negatives": True, "temperature": 0.3}
    expected = reference(query, keys, **options)
    torch.testing.assert_close(info_nce_loss(query, keys, reduction="none", **options), expected)
    torch.testing.assert_close(info_nce_loss(query, keys, **options), expected.mean())


def test_no_matrix_of_similarities() -> None:
    query, keys = torch.randn(2, 3000, 8)
    hard = {"hardness_mode": "in_batch_negatives", "hardness_strength": 4.0}
    for options in ({"key_to_query_negatives": True}, hard, {**hard, "key_to_query_negatives": True, "margin": 0.1}):
        assert largest_tensor(lambda a, b, o=options: info_nce_loss(a, b, **o), query, keys) <= 2**19


def test_composes(path) -> None:
    given = tensors(torch.float32)
    query, keys = given["query"], given["keys"]
    hard = {"hardness_mode": "all_negatives", "hardness_strength": 2.0}
    for options in ({"key_to_query_negatives": True}, hard, {**hard, "symmetric": True, "queue": given["queue"]}):

        def loss(a: Tensor, b: Tensor, options=options) -> Tensor:
            return info_nce_loss(a, b, in_batch=True, **options)

        assert_steady(loss, query, keys)
        assert_takes_strides_and_mixed_dtypes(loss, query, keys)
        assert_compiles(loss, query, keys)


def test_second_derivatives_are_refused(path) -> None:
    query, keys = torch.randn(2, 5, 4, requires_grad=True)
    for options in ({"key_to_query_negatives": True}, {"hardness_mode": "all_negatives", "hardness_strength": 2.0}):
        (grad,) = torch.autograd.grad(info_nce_loss(query, keys, **options), query, create_graph=True)
        with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
            grad.sum().backward()


def test_what_is_no_number_reaches_the_loss(path) -> None:
    for bad in (torch.nan, torch.inf):
        query, keys = torch.randn(2, 9, 4)
        keys[3, 1] = bad
        for options in ({"key_to_query_negatives": True}, {"hardness_mode": "all_negatives", "hardness_strength": 2.0}):
            assert not info_nce_loss(query, keys, **options).isfinite()
            assert not info_nce_loss(query, keys, normalize=False, **options).isfinite()
    for temperature in (torch.tensor(torch.nan), torch.tensor(torch.inf), torch.tensor(-torch.inf)):
        for options in ({"key_to_query_negatives": True}, {"hardness_mode": "in_batch_negatives"}, {"margin": 0.1}):
            assert info_nce_loss(torch.eye(3), torch.eye(3), temperature=temperature, **options).isnan()


def test_a_strength_that_float64_alone_holds() -> None:
    query, keys = torch.randn(2, 4, 3, dtype=torch.float64)
    options: dict[str, Any] = {"hardness_mode": "in_batch_negatives", "hardness_strength": 1e39}
    torch.testing.assert_close(info_nce_loss(query, keys, **options), reference(query, keys, **options).mean())


def test_autocast_changes_nothing(path) -> None:
    query, keys = torch.randn(2, 50, 16)
    options = {"temperature": 0.05, "key_to_query_negatives": True}
    expected = info_nce_loss(query, keys, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce_loss(query, keys, **options), expected)
