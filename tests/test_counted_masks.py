"""The compact form that rules give with ``return_counts``: that of their own mask, over tensors and arrays, and what
the losses take."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from compact_losses import check_frame_losses, check_patch_losses, check_token_losses
from cuda_graph import captured
from oracle import all_equal

from sslfast import host, masking

IDS = torch.arange(240).view(6, 40) * 37 % 991 + 5
SPECIAL = IDS % 9 == 0
LENGTHS = torch.tensor([40, 9, 0, 33, 12, 40])


class Case(NamedTuple):
    """A rule and its arguments: tensors, which become arrays for the other face, and numbers.

    Attributes:
        rule: the name of the function.
        arguments: what it is called with.
        options: the same by name.
        most: the most places that a row masks.
        at: where in the result the mask is, or the labels.
    """

    rule: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    most: int
    at: int = 0


GRID = (6, (8, 10))
TEXT = {"mask_token_id": 4, "special_tokens_mask": SPECIAL}
CASES = [
    Case("block_mask", (*GRID, 30), {}, 30),
    Case("block_mask", (*GRID, 30), {"mode": "compat", "mask_probability": 0.5}, 30),
    Case("block_mask", (*GRID, (3, 41)), {"shift": True}, 41),
    Case("block_mask", (*GRID, torch.tensor([0, 80, 7, 200, -4, 11])), {}, 80),
    Case("inverse_block_mask", (*GRID, 0.65), {}, 52),
    Case("inverse_block_mask", (*GRID, 1.0), {"mode": "compat"}, 80),
    Case("square_mask", (*GRID, 0.8), {}, 64),
    Case("square_mask", (*GRID, 0.3), {"inverse": False}, 24),
    Case("grid_patch_mask", (*GRID, 2, 0.6), {}, 48),
    Case("grid_patch_mask", (*GRID, (4, 5), 0.0), {}, 0),
    Case("tube_mask", (6, (3, 4, 5), 0.9), {}, 54),
    Case("frame_mask", (6, (4, 2, 3), 0.5), {}, 12),
    Case("time_mask", (6, 40), {"lengths": LENGTHS, "mask_length": 5}, 40),
    Case("time_mask", (6, 40), {"lengths": LENGTHS, "mask_length": 5, "mode": "hf"}, 40),
    Case("time_mask", (6, 40), {"lengths": LENGTHS, "mode": "fairseq", "mask_dropout": 0.3}, 40),
    Case("random_patch_mask", (6, 50, 0.7), {}, 35, 2),
    Case("random_patch_mask", (6, 50, 0.7), {"num_prefix_tokens": 2, "order": "sorted"}, 35, 2),
    Case("mask_spans", (IDS,), TEXT | {"vocab_size": 1000}, 40, 2),
    Case("mask_items", (IDS,), {"mask_id": 1000}, 40, 2),
    Case("mask_items", (IDS,), {"mask_id": 1000, "mode": "compat", "mask_ratio": 0.4}, 40, 1),  # not all have a label
    Case("permutation_mask", (IDS,), TEXT, 40, 4),
    Case("permutation_mask", (IDS.int(),), TEXT | {"mode": "compat"}, 40, 4),
    Case("corrupt_spans", (IDS,), {"sentinel_id": 2000}, 9, 1),
    Case("corrupt_spans", (IDS.int(),), {"sentinel_id": 2000, "lengths": LENGTHS, "mode": "compat"}, 9, 1),
    Case("corrupt_features", (IDS.double(), 0.3), {}, 12, 1),
    Case("corrupt_features", (IDS % 5, 0.3), {"selection": "bernoulli", "changed": True}, 40, 1),
    Case("corrupt_features", (IDS.float(), 0.3), {"source": "uniform", "mode": "compat"}, 28, 1),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.rule, *map(str, case.options)]))


def call(case: Case, device: str = "cpu", **options: Any) -> Any:
    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, torch.Tensor) else value

    arguments, given = map(moved, case.arguments), {name: moved(value) for name, value in case.options.items()}
    if "grid" in case.rule or "patch" in case.rule or not isinstance(case.arguments[0], torch.Tensor):
        options["device"] = device
    return getattr(masking, case.rule)(*arguments, **given, **options)


def arrays(case: Case, **options: Any) -> Any:
    def array(value: Any) -> Any:
        return value.numpy() if isinstance(value, torch.Tensor) else value

    given = {name: array(value) for name, value in case.options.items()}
    return getattr(host, case.rule)(*map(array, case.arguments), **given, seed=3, **options)


def compact_form(case: Case, result: Any) -> Any:
    """Of what the rule gives without the option."""
    mask = result[case.at] if isinstance(result, tuple) else result
    indices, counts = masking.mask_indices(mask if mask.dtype == torch.bool else mask != -100)
    assert (indices[len(mask) * case.most :] == -1).all()
    return indices[: len(mask) * case.most], counts


@cases
def test_it_is_that_of_the_mask(device, case):
    plain = call(case, device, generator=3)
    plain = plain if isinstance(plain, tuple) else (plain,)
    counted = call(case, device, generator=3, return_counts=True)
    assert all_equal(counted, (*plain, *compact_form(case, plain)))
    assert all_equal(counted[-2:], (counted.indices, counted.counts))
    for threads in (1, 3):
        ours = arrays(case, return_counts=True, threads=threads)
        assert all_equal([torch.from_numpy(a.copy()) for a in ours], counted)
        assert ours._fields == counted._fields
        assert type(ours).__name__ == type(counted).__name__


WITHOUT = {  # what draws and gives no mask to list
    "dino_masks": "its lists of positions are the compact form",
    "ijepa_masks": "the same",
    "vjepa_masks": "the same",
    "sample_negatives": "frames for given masks",
    "sample_replacements": "ids for given positions",
    "spec_augment": "a spectrogram",
}
ELSEWHERE = {"mask_tokens", "mask_words", "mask_nodes", "drop_edges", "mask_patches"}  # not among the cases here


@pytest.mark.parametrize("face", [masking, host], ids=["tensors", "arrays"])
def test_every_rule_that_makes_a_mask_has_it(face):
    """Every public function of masking that draws, whatever its name."""
    drawing = {}
    for name in set(face.__all__) & set(masking.__all__):
        function = getattr(face, name)
        if inspect.isfunction(function):
            parameters = inspect.signature(function).parameters
            if "generator" in parameters or "seed" in parameters:
                drawing[name] = "return_counts" in parameters
    assert {name for name, has in drawing.items() if not has} == set(WITHOUT)
    assert {name for name, has in drawing.items() if has} - ELSEWHERE == {case.rule for case in CASES}


@pytest.mark.parametrize("ptr", [None, [0, 4, 4, 9, 30, 30, 31, 60], [0, 60]])
def test_graphs(device, ptr):
    """Counts are those of the graphs, an empty one among them; nodes and edges are numbered through the batch."""
    x, edges = torch.arange(120.0).view(60, 2), torch.zeros(2, 60, dtype=torch.int64)
    ptr = None if ptr is None else torch.tensor(ptr)
    for rule, first, options in (("mask_nodes", x, {"replace_rate": 0.3}), ("drop_edges", edges, {})):
        there = None if ptr is None else ptr.to(device)
        plain = getattr(masking, rule)(first.to(device), 0.4, ptr=there, generator=3, **options)
        plain = plain if isinstance(plain, tuple) else (plain,)
        out = getattr(masking, rule)(first.to(device), 0.4, ptr=there, generator=3, return_counts=True, **options)
        assert all_equal(out[:-2], plain)
        mask, bounds = out.mask.cpu(), [0, 60] if ptr is None else ptr.tolist()
        assert out.counts.tolist() == [int(mask[a:b].sum()) for a, b in pairwise(bounds)]
        found = out.indices.cpu()
        assert torch.equal(found[: mask.sum()], mask.nonzero()[:, 0])
        assert found.shape == (60,)
        assert (found[mask.sum() :] == -1).all()
        if rule == "mask_nodes":
            assert torch.equal(out.masked_nodes[out.masked_nodes >= 0].sort().values, out.indices[: mask.sum()])
        arrays = {"ptr": None if ptr is None else ptr.numpy(), "seed": 3, "return_counts": True}
        ours = getattr(host, rule)(first.numpy(), 0.4, threads=2, **options, **arrays)
        assert all_equal([torch.from_numpy(a.copy()) for a in ours], out)
        assert (type(ours).__name__, ours._fields) == (type(out).__name__, out._fields)
        for face, draws in ((masking, {"generator": 3}), (host, {"seed": 3})):
            with pytest.raises(TypeError, match=f"^{rule}: return_counts must be a bool, got 1$"):
                getattr(face, rule)(first if face is masking else first.numpy(), return_counts=1, **draws)


def test_kept_patches():
    x = torch.randn(3, 20, 4)
    kept, mask, restore, indices, counts = masking.mask_patches(x, 0.75, generator=3, return_counts=True)
    assert all_equal((kept, mask, restore), masking.mask_patches(x, 0.75, generator=3))
    assert torch.equal(indices, mask.flatten().nonzero()[:, 0])
    assert counts.tolist() == [15] * 3


@pytest.mark.parametrize("case", [CASES[2], CASES[18], CASES[22]], ids=lambda case: case.rule)
def test_compiles_to_one_graph(case):
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    expected = call(case, generator=3, return_counts=True)
    assert all_equal(compiled(case, generator=3, return_counts=True), expected)


def test_no_row():
    for case in (Case("block_mask", (0, (4, 4), 7), {}, 7), Case("mask_items", (IDS[:0],), {"mask_id": 1000}, 40, 2)):
        *_, indices, counts = call(case, generator=3, return_counts=True)
        assert indices.shape == counts.shape == (0,)


@cases
def test_the_option_is_a_bool(case):
    message = f"^{case.rule}: return_counts must be a bool, got 1$"
    with pytest.raises(TypeError, match=message):
        call(case, generator=3, return_counts=1)
    with pytest.raises(TypeError, match=message):
        arrays(case, return_counts=1)


@cases
@pytest.mark.gpu
def test_nothing_waits_for_a_gpu(case):
    seed = torch.tensor([3], device="cuda")
    given = case._replace(
        arguments=[a.cuda() if isinstance(a, torch.Tensor) else a for a in case.arguments],
        options={n: a.cuda() if isinstance(a, torch.Tensor) else a for n, a in case.options.items()},
    )
    _, results = captured(lambda: call(given, "cuda", generator=seed, return_counts=True))
    assert all_equal(results, call(case, generator=3, return_counts=True))


# ---- what the losses take


@pytest.mark.parametrize("case", [c for c in CASES if c.rule in ("mask_spans", "mask_items", "permutation_mask")])
def test_losses_of_tokens(case):
    out = call(case, generator=3, return_counts=True)
    check_token_losses(out.labels, out.indices)


@pytest.mark.parametrize("case", CASES[:10], ids=lambda case: "-".join([case.rule, *map(str, case.options)]))
def test_losses_check_patch_losses(case):
    if case.most:
        out = call(case, generator=3, return_counts=True)
        check_patch_losses(out.mask, out.indices)


@pytest.mark.parametrize("case", CASES[12:15], ids=lambda case: str(case.options.get("mode")))
def test_losses_check_frame_losses(case):
    out = call(case, generator=3, return_counts=True)
    check_frame_losses(out.mask, out.indices)
