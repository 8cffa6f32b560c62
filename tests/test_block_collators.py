"""MaskedPatchCollator and IJEPACollator: rules by name, what draws depend on, DataLoader workers, bad input."""

from __future__ import annotations

import pickle

import pytest
import torch
from oracle import all_equal
from torch.utils.data import DataLoader, Dataset

from sslfast.masking import (
    IJEPACollator,
    MaskedPatchCollator,
    block_mask,
    dino_masks,
    frame_mask,
    grid_patch_mask,
    ijepa_masks,
    inverse_block_mask,
    random_patch_mask,
    square_mask,
    tube_mask,
)
from sslfast.random import step_seed

GRID = (8, 6)


class Images(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"pixels": torch.full((3, 4, 4), float(index)), "id": index}


def images(ids):
    return [Images()[i] for i in ids]


def by_definition(rule, seed, ids):
    draws = {"generator": seed, "sample_ids": torch.tensor(ids)}
    rows = len(ids)
    return {
        "block": lambda: block_mask(rows, GRID, 19, **draws),
        "ibot": lambda: block_mask(rows, GRID, (4, 24), min_patches=4, mask_probability=0.5, **draws),
        "inverse_block": lambda: inverse_block_mask(rows, GRID, **draws),
        "grid": lambda: grid_patch_mask(rows, GRID, 2, **draws),
        "random": lambda: random_patch_mask(rows, 48, **draws).mask.view(rows, *GRID),
        "square": lambda: square_mask(rows, GRID, **draws),
        "tube": lambda: tube_mask(rows, (4, *GRID), **draws),
        "frame": lambda: frame_mask(rows, (4, *GRID), **draws),
    }[rule]()


@pytest.mark.parametrize("rule", ["block", "ibot", "inverse_block", "grid", "random", "square", "tube", "frame"])
def test_rules_by_name(rule):
    grid = (4, *GRID) if rule in ("tube", "frame") else GRID
    options = {"cell_size": 2} if rule == "grid" else {}
    collator = MaskedPatchCollator(grid, rule, seed=5, sample_id_key="id", **options)
    collator.set_epoch(3)
    batch = collator(images([7, 2, 9]))
    assert list(batch) == ["pixels", "id", "mask"]
    assert batch["pixels"][:, 0, 0, 0].tolist() == [7, 2, 9]
    assert all_equal([batch["mask"]], [by_definition(rule, int(step_seed(5, 3)), [7, 2, 9])])


def test_dinov2_by_name():
    collator = MaskedPatchCollator(GRID, "dinov2", seed=5, sample_id_key="id", mask_probability=0.5)
    batch = collator(images([7, 2, 9, 4]))
    ids, seed = torch.tensor([7, 2, 9, 4]), int(step_seed(5, 0))
    masks, indices, weights, upperbound, found = dino_masks(
        4, GRID, generator=seed, sample_ids=ids, batch_number=7, mask_probability=0.5
    )
    n = int(found)
    names = ("collated_masks", "mask_indices_list", "masks_weight", "n_masked_patches")
    assert all_equal([batch[name] for name in names], [masks, indices[:n], weights[:n], found])
    assert batch["upperbound"] == upperbound


def test_a_rule_of_ones_own():
    calls = []

    def rule(rows, grid, *, generator, sample_ids, share):
        calls.append((rows, grid, generator, sample_ids))
        return {"even": torch.zeros(rows, *grid, dtype=torch.bool), "share": share}

    batch = MaskedPatchCollator(GRID, rule, share=0.5)([(torch.ones(2), 1), (torch.ones(2), 0)])
    assert calls == [(2, GRID, None, None)]
    assert list(batch) == ["inputs", "even", "share"]
    assert batch["inputs"][1].tolist() == [1, 0]
    own = MaskedPatchCollator(GRID, lambda n, g, **_: torch.ones(n, *g, dtype=torch.bool), mask_key="bool_masked_pos")
    assert own([torch.ones(2)])["bool_masked_pos"].all()


def test_examples_are_not_changed():
    examples = images([1, 2])
    MaskedPatchCollator(GRID)(examples)
    assert [list(example) for example in examples] == [["pixels", "id"]] * 2


def test_samples_are_masked_alike_in_any_batch_and_worker():
    def masks(batch_size, workers, context=None, epoch=1):
        collator = MaskedPatchCollator(GRID, seed=3, sample_id_key="id")
        loader = DataLoader(
            Images(), batch_size, num_workers=workers, collate_fn=collator, multiprocessing_context=context
        )
        collator.set_epoch(epoch)
        return torch.cat([batch["mask"] for batch in loader])

    expected = masks(12, 0)
    assert torch.equal(masks(5, 0), expected)
    assert torch.equal(masks(4, 2, "fork"), expected)
    assert torch.equal(masks(6, 1, "spawn"), expected)
    assert not torch.equal(masks(12, 0, epoch=2), expected)


def test_unseeded_collators_follow_torch():
    collator = MaskedPatchCollator(GRID)
    torch.manual_seed(1)
    first, second = (collator(images([1, 2]))["mask"] for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(collator(images([1, 2]))["mask"], first)
    assert not torch.equal(first, second)


def test_collators_are_picklable():
    for collator in (MaskedPatchCollator(GRID, seed=1), IJEPACollator(64, seed=1)):
        again = pickle.loads(pickle.dumps(collator))
        ours, theirs = collator([torch.ones(1)] * 3), again([torch.ones(1)] * 3)
        if isinstance(ours, dict):
            assert torch.equal(ours["mask"], theirs["mask"])
        else:
            assert all_equal(ours[1], theirs[1])


# ---- IJEPACollator


def test_ijepa_collator():
    collator = IJEPACollator((128, 96), 16, npred=3, seed=5, sample_id_key="id")
    collated, contexts, targets = collator(images([7, 2, 9]))
    assert collated["id"].tolist() == [7, 2, 9]
    expected = ijepa_masks(
        3,
        (8, 6),
        npred=3,
        generator=int(step_seed(5, 0)),
        sample_ids=torch.tensor([7, 2, 9]),
        batch_number=7,
    )
    assert all_equal(contexts, expected.masks_enc)
    assert all_equal(targets, expected.masks_pred)


def test_ijepa_collator_in_workers():
    collator = IJEPACollator(64, 8, npred=4, pred_mask_scale=(0.1, 0.2), seed=2, sample_id_key="id")
    runs = []
    for workers in (0, 2):
        loader = DataLoader(Images(), 4, num_workers=workers, collate_fn=collator)
        runs.append([(*contexts, *targets) for _, contexts, targets in loader])
    for ours, theirs in zip(*runs, strict=True):
        assert all_equal(ours, theirs)


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grid": 8}, TypeError, "MaskedPatchCollator: grid must be (H, W), got int"),
        (
            {"rule": "blocks"},
            ValueError,
            "MaskedPatchCollator: rule must be one of block, dinov2, frame, grid, ibot, inverse_block, random, square, "
            "tube or a callable, got 'blocks'",
        ),
        ({"rule": 3}, TypeError, "MaskedPatchCollator: rule must be a str or a callable, got int"),
        ({"mask_key": 1}, TypeError, "MaskedPatchCollator: mask_key must be a str, got int"),
        ({"mask_ratio": 1.0}, ValueError, "MaskedPatchCollator: mask_ratio must be in [0, 1), got 1.0"),
        ({"mode": "x"}, ValueError, "MaskedPatchCollator: mode must be 'exact' or 'compat', got 'x'"),
        (
            {"rule": "ibot", "pred_ratio_var": 0.5},
            ValueError,
            "MaskedPatchCollator: pred_ratio_var must leave pred_ratio 0.3 in [0, 1], got 0.5",
        ),
        ({"rule": "tube"}, ValueError, "MaskedPatchCollator: grid must be (T, H, W), got (8, 6)"),
        (
            {"rule": "grid"},
            ValueError,
            "MaskedPatchCollator: cell_size must be given with rule 'grid', got None",
        ),
        ({"sample_id_key": "id"}, ValueError, "MaskedPatchCollator: sample_id_key needs a seed, got None"),
    ],
)
def test_masked_patch_collator_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        MaskedPatchCollator(**{"grid": GRID, **arguments})
    assert str(raised.value) == message


@pytest.mark.parametrize("collator", [MaskedPatchCollator(GRID), IJEPACollator(), MaskedPatchCollator(GRID, seed=1)])
def test_a_batch_of_nothing(collator):
    with pytest.raises(ValueError, match=f"^{type(collator).__name__}: examples must not be empty, got \\[\\]$"):
        collator([])


def test_the_mask_needs_a_key_of_its_own():
    with pytest.raises(ValueError, match="an example must not have the key of the mask, got 'id'"):
        MaskedPatchCollator(GRID, mask_key="id")(images([1]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"patch_size": 0}, ValueError, "IJEPACollator: patch_size must be at least 1, got 0"),
        ({"input_size": 8}, ValueError, "IJEPACollator: input_size must be at least patch_size 16, got (8, 8)"),
        ({"input_size": "224"}, TypeError, "IJEPACollator: input_size must be an int, got str"),
        ({"npred": 0}, ValueError, "IJEPACollator: npred must be in [1, 16], got 0"),
        ({"seed": 1.0}, TypeError, "IJEPACollator: seed must be an int, got float"),
    ],
)
def test_ijepa_collator_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        IJEPACollator(**arguments)
    assert str(raised.value) == message
