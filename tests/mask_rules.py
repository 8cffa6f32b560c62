"""Every masking and sequence augmentation rule, callable alike, for the contracts of test_mask_rules.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mask_rule_inputs import (
    frames,
    graphs,
    ids,
    ids_and_offsets,
    ids_and_words,
    masked_frames,
    nothing,
    spectrograms,
    table,
)
from token_rule_cases import CASES
from torch import Tensor

from sslfast import host
from sslfast.masking import (
    block_mask,
    corrupt_features,
    corrupt_spans,
    dino_masks,
    drop_edges,
    frame_mask,
    grid_patch_mask,
    ijepa_masks,
    inverse_block_mask,
    mask_items,
    mask_nodes,
    mask_spans,
    mask_tokens,
    mask_words,
    permutation_mask,
    random_patch_mask,
    sample_negatives,
    sample_replacements,
    spec_augment,
    square_mask,
    time_mask,
    tube_mask,
    vjepa_masks,
)

Result = tuple[Tensor, ...]


class Rule(NamedTuple):
    """One rule at one size.

    Attributes:
        name: what the test is called.
        inputs: the numbers of the rows -> what the rule reads, on the CPU; may depend on these numbers alone.
        torch: (inputs on the device, number of rows, device, keywords ``generator`` and ``sample_ids`` or
            ``row_offset``) -> tensors whose first dimension is the row.
        numpy: the same over arrays, without a device and with ``seed`` instead of ``generator``, or None where there is
            no such face.
    """

    name: str
    inputs: Callable[[Tensor], tuple[Tensor, ...]]
    torch: Callable[..., Result]
    numpy: Callable[..., tuple[Any, ...]] | None


def by_graph(rows: int, result: Any) -> tuple[Any, ...]:
    """Node masks with the graph in front; nodes are numbered in the batch, here in their graph."""
    size = len(result.x) // rows
    lists = [(nodes - (nodes >= 0) * (nodes // size * size)).reshape(rows, size) for nodes in result[1:3]]
    return (result.x.reshape(rows, size, -1), *lists, result.mask.reshape(rows, size))


def own_frames(negatives: Any) -> Any:
    """Positions count from the first row of the batch; frames do not."""
    return negatives % 40


BANK = torch.arange(600).view(20, 30) / 3
BANDS = {"n_freq_masks": 2, "freq_mask_param": 9, "n_time_masks": 2, "time_mask_param": 20}
TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.3}
FEW = {"mlm_probability": 0.02, "min_masked": 1}

SORTED = {"num_prefix_tokens": 1, "order": "sorted"}

RULES = [
    Rule(
        "mask_tokens",
        ids,
        lambda inputs, rows, device, **draws: mask_tokens(*inputs, **TOKENS, **draws)[:2],
        lambda inputs, rows, **draws: host.mask_tokens(*inputs, **TOKENS, **draws)[:2],
    ),
    Rule(
        "mask_tokens, one a row, words from a table",
        ids,
        lambda inputs, rows, device, **draws: mask_tokens(
            *inputs, **TOKENS | FEW, random_token_ids=torch.arange(9, 99, device=device), **draws
        )[:2],
        lambda inputs, rows, **draws: host.mask_tokens(
            *inputs, **TOKENS | FEW, random_token_ids=torch.arange(9, 99).numpy(), **draws
        )[:2],
    ),
    Rule(
        "mask_words by numbers",
        ids_and_words,
        lambda inputs, rows, device, **draws: mask_words(inputs[0], word_ids=inputs[1], **TOKENS, **draws)[:2],
        lambda inputs, rows, **draws: host.mask_words(inputs[0], word_ids=inputs[1], **TOKENS, **draws)[:2],
    ),
    Rule(
        "mask_words by offsets, one a row, replaced as words",
        ids_and_offsets,
        lambda inputs, rows, device, **draws: mask_words(
            inputs[0], offset_mapping=inputs[1], replace="word", **TOKENS | FEW, **draws
        )[:2],
        lambda inputs, rows, **draws: host.mask_words(
            inputs[0], offset_mapping=inputs[1], replace="word", **TOKENS | FEW, **draws
        )[:2],
    ),
    Rule(
        "random_patch_mask",
        nothing,
        lambda inputs, rows, device, **draws: random_patch_mask(rows, 49, device=device, **draws),
        lambda inputs, rows, **draws: host.random_patch_mask(rows, 49, **draws),
    ),
    Rule(
        "corrupt_spans",
        ids,
        lambda inputs, rows, device, **draws: corrupt_spans(*inputs, sentinel_id=9999, **draws),
        lambda inputs, rows, **draws: host.corrupt_spans(*inputs, sentinel_id=9999, **draws),
    ),
    Rule(
        "mask_spans",
        ids,
        lambda inputs, rows, device, **draws: mask_spans(*inputs, mask_token_id=4, vocab_size=1000, **draws),
        lambda inputs, rows, **draws: host.mask_spans(*inputs, mask_token_id=4, vocab_size=1000, **draws),
    ),
    Rule(
        "mask_items",
        ids,
        lambda inputs, rows, device, **draws: mask_items(*inputs, mask_id=1000, **draws),
        lambda inputs, rows, **draws: host.mask_items(*inputs, mask_id=1000, **draws),
    ),
    Rule(
        "permutation_mask",
        ids,
        lambda inputs, rows, device, **draws: permutation_mask(*inputs, mask_token_id=4, **draws),
        lambda inputs, rows, **draws: [a.copy() for a in host.permutation_mask(*inputs, mask_token_id=4, **draws)],
    ),
    Rule(
        "sample_replacements",
        lambda numbers: (ids(numbers)[0] / 500.0,),
        lambda inputs, rows, device, **draws: (sample_replacements(*inputs, **draws),),
        lambda inputs, rows, **draws: (host.sample_replacements(*inputs, **draws),),
    ),
]


def _masks(name: str, function: Callable[..., Tensor], *sizes: Any, **options: Any) -> Rule:
    """A rule that reads nothing and returns one mask."""
    return Rule(
        name,
        nothing,
        lambda inputs, rows, device, **draws: (function(rows, *sizes, **options, device=device, **draws),),
        lambda inputs, rows, **draws: (getattr(host, function.__name__)(rows, *sizes, **options, **draws),),
    )


IJEPA = {"allow_overlap": True, "fixed_size": True, "pred_mask_scale": (0.1, 0.2)}


def _lists(masks: Any) -> tuple[Any, ...]:
    return (*masks.masks_enc, *masks.masks_pred)


NODES = {"replace_rate": 0.4, "keep_rate": 0.1}
DINO = {"mask_ratio_min_max": (0.3, 0.3), "mask_probability": 1.0}

RULES += [
    _masks("grid_patch_mask", grid_patch_mask, (12, 8), 2),
    _masks("tube_mask", tube_mask, (4, 7, 7)),
    _masks("frame_mask", frame_mask, (8, 3, 5)),
    *(
        Rule(
            f"time_mask {mode}",
            frames,
            lambda inputs, rows, device, mode=mode, **draws: (
                time_mask(rows, 200, lengths=inputs[0], mode=mode, device=device, **draws),
            ),
            lambda inputs, rows, mode=mode, **draws: (
                host.time_mask(rows, 200, lengths=inputs[0], mode=mode, **draws),
            ),
        )
        for mode in ("exact", "hf", "fairseq")
    ),
    *(
        Rule(
            f"time_mask fairseq, {name}",
            frames,
            lambda inputs, rows, device, options=options, **draws: (
                time_mask(rows, 200, lengths=inputs[0], mode="fairseq", **options, device=device, **draws),
            ),
            lambda inputs, rows, options=options, **draws: (
                host.time_mask(rows, 200, lengths=inputs[0], mode="fairseq", **options, **draws),
            ),
        )
        for name, options in {
            "uniform, apart": {"mask_type": "uniform", "mask_other": 2, "no_overlap": True, "min_space": 2},
            "normal, holes": {"mask_type": "normal", "mask_other": 4.0, "mask_dropout": 0.1},
            "poisson, every start": {"mask_type": "poisson", "idc_select_ver": 2},
        }.items()
    ),
    Rule(
        "spec_augment",
        spectrograms,
        lambda inputs, rows, device, **draws: (spec_augment(*inputs, **BANDS, mask_value="mean", **draws),),
        lambda inputs, rows, **draws: (host.spec_augment(*inputs, **BANDS, mask_value="mean", **draws),),
    ),
    *(
        Rule(
            f"corrupt_features {source}",
            table,
            lambda inputs, rows, device, source=source, **draws: corrupt_features(
                *inputs, source=source, bank=BANK.to(device), **draws
            ),
            lambda inputs, rows, source=source, **draws: host.corrupt_features(
                *inputs, source=source, bank=BANK.numpy(), **draws
            ),
        )
        for source in ("marginals", "rows", "uniform")
    ),
    *(
        Rule(
            f"mask_nodes of {size}, {mode}",
            lambda numbers, size=size: graphs(numbers, size),
            lambda inputs, rows, device, mode=mode, **draws: by_graph(
                rows, mask_nodes(inputs[0], 0.5, ptr=inputs[1], mode=mode, **NODES, **draws)
            ),
            lambda inputs, rows, mode=mode, **draws: by_graph(
                rows, host.mask_nodes(inputs[0], 0.5, ptr=inputs[1], mode=mode, **NODES, **draws)
            ),
        )
        for size, mode in ((20, "exact"), (20, "compat"), (150, "exact"), (150, "compat"))
    ),
    Rule(
        "drop_edges",
        lambda numbers: (torch.zeros(2, 37 * len(numbers), dtype=torch.int64), torch.arange(len(numbers) + 1) * 37),
        lambda inputs, rows, device, **draws: (drop_edges(inputs[0], ptr=inputs[1], **draws).reshape(rows, 37),),
        lambda inputs, rows, **draws: (host.drop_edges(inputs[0], ptr=inputs[1], **draws).reshape(rows, 37),),
    ),
    Rule(
        "sample_negatives",
        masked_frames,
        lambda inputs, rows, device, **draws: (own_frames(sample_negatives(*inputs, 5, **draws)),),
        lambda inputs, rows, **draws: (own_frames(host.sample_negatives(*inputs, 5, **draws)),),
    ),
    Rule(
        "random_patch_mask, sorted behind a class token",
        nothing,
        lambda inputs, rows, device, **draws: random_patch_mask(rows, 49, **SORTED, device=device, **draws),
        lambda inputs, rows, **draws: host.random_patch_mask(rows, 49, **SORTED, **draws),
    ),
    _masks("block_mask", block_mask, (14, 14), 58, shift=True),
    _masks("inverse_block_mask", inverse_block_mask, (14, 14)),
    _masks("square_mask", square_mask, (14, 14)),
    Rule(  # every row is masked by one ratio: nothing is left that rows share
        "dino_masks",
        nothing,
        lambda inputs, rows, device, **draws: dino_masks(rows, (14, 14), **DINO, device=device, **draws)[:1],
        lambda inputs, rows, **draws: host.dino_masks(rows, (14, 14), **DINO, **draws)[:1],
    ),
    Rule(  # contexts that keep the targets' patches have one length: nothing is cut to the shortest of the batch
        "ijepa_masks",
        nothing,
        lambda inputs, rows, device, **draws: _lists(ijepa_masks(rows, **IJEPA, device=device, **draws)),
        lambda inputs, rows, **draws: _lists(host.ijepa_masks(rows, **IJEPA, **draws)),
    ),
    Rule(  # one block and its complement have one length
        "vjepa_masks",
        nothing,
        lambda inputs, rows, device, **draws: vjepa_masks(rows, (4, 7, 7), fixed_size=True, device=device, **draws)[:2],
        lambda inputs, rows, **draws: host.vjepa_masks(rows, (4, 7, 7), fixed_size=True, **draws)[:2],
    ),
]

RULES += [Rule(*case) for case in CASES]
