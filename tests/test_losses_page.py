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
    a, p, *hard = torch.randn(4, 8, 5, dtype=torch.float64)
    scale, at, itself = 20.0, torch.arange(8), torch.eye(8, dtype=torch.bool)
    names = {"anchor": a, "positive": p, "negatives": hard, "n": 2, "scale": scale, "N": 8, "torch": torch}
    names["info_nce_loss"] = losses.info_nce_loss
    codes = [code for code in re.findall(r"`([^`]+)`", part) if code.startswith("info_nce_loss")]
    pairs, triplets, pairs_twice, pairs_both_ways, triplets_both_ways, own_hard, back = codes

    def similar(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return scale * nn.functional.cosine_similarity(x.unsqueeze(1), y.unsqueeze(0), dim=2)

    def loss(*sums: torch.Tensor) -> torch.Tensor:
        return (torch.cat(sums, dim=1).logsumexp(dim=1) - similar(a, p)[at, at]).mean()

    def without(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = similar(x, y)
        return logits.masked_fill(itself.repeat(1, len(y) // 8), -torch.inf)

    def is_page(code: str, expected: torch.Tensor, options: str = "", mode: str | None = None) -> None:
        found = eval(f"{code.removesuffix(')')}{options})", names | {"mode": mode, "a": 9.0 if mode else 0.0})
        torch.testing.assert_close(found, expected)

    for option in ("query_negatives", "key_to_query_negatives", "key_negatives"):
        assert f"`{option}=True`" in part
    docs = torch.cat([p, *hard])
    to_pos, to_docs = similar(a, p), similar(a, docs)
    is_page(pairs, loss(to_pos))
    is_page(triplets, loss(to_docs))
    for code, logits in ((pairs, to_pos), (triplets, to_docs)):
        is_page(code, loss(logits, without(a, a)), ", query_negatives=True")
        is_page(code, loss(logits, without(p, a)), ", key_to_query_negatives=True")
    is_page(pairs, loss(to_pos, without(p, p)), ", key_negatives=True")
    is_page(pairs_twice, loss(to_pos, similar(p, a)))
    replaced = "torch.stack([*negatives, positive], 1)"
    assert f"`{replaced}`" in part
    own_twice = own_hard.replace("torch.stack(negatives, 1)", replaced)
    is_page(own_twice, loss(to_docs, similar(p, a)), ", key_to_query_negatives=True")
    is_page(pairs_both_ways, (loss(to_pos) + loss(similar(p, a))) / 2)
    is_page(triplets_both_ways, (loss(to_docs) + loss(similar(p, a))) / 2)

    def harder(logits: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return logits + 9.0 / scale * where * logits

    for mode in ("in_batch_negatives", "all_negatives"):
        options = f", hardness_mode={mode!r}, hardness_strength=9.0"
        is_page(pairs, loss(harder(to_pos, ~itself)), options)
        is_page(pairs_both_ways, (loss(harder(to_pos, ~itself)) + loss(similar(p, a))) / 2, options)
    options = ", hardness_mode='in_batch_negatives', hardness_strength=9.0"
    is_page(pairs_twice, loss(harder(to_pos, ~itself), similar(p, a)), options)
    of_others = ~itself.repeat(1, 3)
    is_page(
        own_twice,
        loss(harder(to_docs, of_others), similar(p, a)),
        ", key_to_query_negatives=True",
        "in_batch_negatives",
    )
    own = torch.cat([torch.zeros_like(itself), itself, itself], dim=1)
    modes = {"in_batch_negatives": of_others, "hard_negatives": own, "all_negatives": of_others | own}
    for mode, where in modes.items():
        is_page(own_hard, loss(harder(to_docs, where)), mode=mode)
        is_page(own_hard, loss(harder(to_docs, where), without(p, docs)), ", key_negatives=True", mode)
    is_page(own_hard, loss(to_docs, without(p, docs)), ", key_negatives=True")
    is_page(back, loss(similar(p, a)))  # which makes means with those of own_hard
    options = ", hardness_mode='all_negatives', hardness_strength=9.0"
    is_page(triplets_both_ways, (loss(harder(to_docs, of_others | own)) + loss(similar(p, a))) / 2, options)


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
