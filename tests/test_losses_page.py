"""What docs/losses.md says of the losses, held against them: which has which argument."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from pathlib import Path

import torch
from torch import nn

from sslfast import losses
from sslfast.losses import AdversarialPerturbation, DINOLoss, dino_loss

PAGE = (Path(__file__).parents[1] / "docs/losses.md").read_text()


def test_the_table_of_arguments() -> None:
    head, *rows = re.search(r"Not every loss has all of them:\n\n((?:\|.*\n)+)", PAGE)[1].splitlines()
    names = re.findall(r"`(\w+)`", head)
    assert names == ["label_smoothing", "softcap", "z_loss", "return_metrics", "num_items"]
    seen = []
    for row in rows[1:]:
        functions, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for function in re.findall(r"`(\w+)`", functions):
            has = inspect.signature(getattr(losses, function)).parameters
            assert [name in has for name in names] == [cell != "no" for cell in cells], function
            seen.append(function)
    having = {n for n in losses.__all__ if "num_items" in inspect.signature(getattr(losses, n)).parameters}
    assert set(seen) == having - {"item_sampling"}


def calls_of(page: str) -> list[ast.Call]:
    """The calls in the page's lines of code; ``argument=`` with nothing behind it has some value."""
    found: list[ast.Call] = []
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
        try:
            tree = ast.parse(re.sub(r"(\w=)(?=\s*[,)])", r"\1None", code))
        except SyntaxError:
            continue
        found += [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return found


def test_what_the_page_calls_takes_these_arguments() -> None:
    seen = set()
    for call in calls_of(PAGE):
        name = call.func.id
        if name not in losses.__all__:
            continue
        parameters = inspect.signature(getattr(losses, name)).parameters
        unknown = {k.arg for k in call.keywords} - set(parameters)
        assert not unknown, ast.unparse(call)
        most = sum(p.kind == p.POSITIONAL_OR_KEYWORD for p in parameters.values())
        assert len(call.args) <= most, ast.unparse(call)
        seen.add(name)
    assert len(seen) > 40, seen


def test_what_the_page_says_of_multiple_negatives_ranking() -> None:
    """sentence-transformers' directions: whose similarities join the sum of an anchor, and the mean of two sums."""
    part = re.search(r"### sentence-transformers\n(.*?)\n### ", PAGE, flags=re.DOTALL)[1]
    a, p, n = torch.randn(3, 8, 5, dtype=torch.float64)
    scale, at, itself = 20.0, torch.arange(8), torch.eye(8, dtype=torch.bool)
    names = {"anchor": a, "positive": p, "negative": n, "scale": scale, "N": 8, "torch": torch}
    names["info_nce_loss"] = losses.info_nce_loss
    codes = [code for code in re.findall(r"`([^`]+)`", part) if code.startswith("info_nce_loss")]
    pairs, triplets, symmetric, hard = (code.removesuffix(")") for code in codes)

    def similar(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return scale * nn.functional.cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=2)

    def loss(*sums: torch.Tensor) -> torch.Tensor:
        return (torch.cat(sums, dim=1).logsumexp(dim=1) - similar(a, p)[at, at]).mean()

    def without(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return similar(x, y).masked_fill(itself, -torch.inf)

    def ours(code: str, options: str = "") -> torch.Tensor:
        return eval(f"{code}{options})", names)

    for option in ("query_negatives", "key_to_query_negatives", "key_negatives"):
        assert f"`{option}=True`" in part
    to_docs = similar(a, torch.cat([p, n]))
    torch.testing.assert_close(ours(pairs), loss(similar(a, p)))
    torch.testing.assert_close(ours(triplets), loss(to_docs))
    torch.testing.assert_close(ours(triplets, ", query_negatives=True"), loss(to_docs, without(a, a)))
    torch.testing.assert_close(ours(triplets, ", key_to_query_negatives=True"), loss(to_docs, without(p, a)))
    twice = ", key_to_query_negatives=True, in_batch=True, negative_keys=positive.unsqueeze(1)"
    torch.testing.assert_close(ours(pairs, twice), loss(similar(a, p), similar(p, a)))
    torch.testing.assert_close(ours(pairs, ", key_negatives=True"), loss(similar(a, p), without(p, p)))
    torch.testing.assert_close(ours(symmetric), (loss(to_docs) + loss(similar(p, a))) / 2)

    in_batch = torch.cat([~itself, ~itself], dim=1)
    own = torch.cat([torch.zeros_like(itself), itself], dim=1)
    modes = {"in_batch_negatives": in_batch, "hard_negatives": own, "all_negatives": in_batch | own}
    for mode, where in modes.items():
        code = hard.replace("hardness_mode=", f"hardness_mode={mode!r}").replace("strength=", "strength=9.0")
        expected = loss(to_docs + 9.0 / scale * where * to_docs)
        torch.testing.assert_close(ours(code), expected)
        docs = torch.cat([p, n])
        to_others = similar(p, docs).masked_fill(itself.repeat(1, 2), -torch.inf)
        expected = loss(to_docs + 9.0 / scale * where * to_docs, to_others)
        torch.testing.assert_close(ours(code, ", key_negatives=True"), expected)


X = torch.randn(4, 3)


def test_an_attack_moves_the_state_of_a_loss_but_not_of_its_function() -> None:
    attack, criterion = AdversarialPerturbation(0.1, steps=2), DINOLoss(3)
    teacher = [torch.randn(4, 3)]
    before = criterion.center.clone()
    at_function = attack(lambda x: dino_loss(teacher, [x, x], criterion.center), X)
    twin = copy.deepcopy(criterion)
    attack(lambda x: twin(teacher, [x, x]), X)
    assert torch.equal(criterion.center, before)
    assert not torch.equal(twin.center, before)
    first = AdversarialPerturbation(0.1)
    expected = first(lambda x: dino_loss(teacher, [x, x]), X)
    torch.testing.assert_close(first(lambda x: criterion(teacher, [x, x]), X), expected)
    assert at_function.shape == X.shape
