"""Ids outside of the vocabulary: refused in one line on the CPU and over arrays, let through in compat mode and on a
GPU, where they are never an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, masking
from sslfast.masking import MLMCollator, WholeWordCollator
from sslfast.masking.drop_in.transformers import torch_mask_tokens

OPTIONS = {"mask_token_id": 4, "vocab_size": 50}
RULES: dict[str, Callable[..., Any]] = {
    "mask_tokens": lambda face, ids, **options: face.mask_tokens(ids, **OPTIONS, **options),
    "mask_words": lambda face, ids, **options: face.mask_words(ids, word_ids=WORDS[face], **OPTIONS, **options),
    "mask_spans": lambda face, ids, **options: face.mask_spans(ids, **OPTIONS, **options),
}
WORDS: dict[Any, Any] = {masking: torch.arange(40).expand(300, 40), host: np.broadcast_to(np.arange(40), (300, 40))}


def ids_with(wrong: int, row: int, token: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    ids = (torch.arange(300 * 40).view(300, 40) * 7 % 50).to(dtype)
    ids[row, token] = wrong
    return ids


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrong", [50, 51, -1, -100, 2**15 - 1, -(2**15)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_ids_out_of_range(rule, wrong, dtype):
    if rule == "mask_spans" and dtype == torch.int16:
        dtype = torch.int32
    message = f"^{rule}: ids must be in \\[0, 49\\], got {wrong}$"
    for row, token in ((0, 0), (299, 39), (150, 17)):
        ids = ids_with(wrong, row, token, dtype)
        for view in (ids, ids.T.contiguous().T):
            with pytest.raises(ValueError, match=message):
                RULES[rule](masking, view, generator=1)
        for threads in (1, 3):
            with pytest.raises(ValueError, match=message):
                RULES[rule](host, ids.numpy(), seed=1, threads=threads)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrong", [2**63 - 1, -(2**63), 2**32, 2**31])
def test_ids_at_the_ends_of_the_type(rule, wrong):
    with pytest.raises(ValueError, match=f"ids must be in \\[0, 49\\], got {wrong}$"):
        RULES[rule](masking, ids_with(wrong, 3, 5), generator=1)


def test_the_first_wrong_id_is_named():
    ids = ids_with(99, 7, 3)
    ids[2, 1] = 70
    with pytest.raises(ValueError, match=r"got 70$"):
        RULES["mask_tokens"](masking, ids, generator=1)


@pytest.mark.parametrize("rule", RULES)
def test_every_id_of_a_vocabulary_is_taken(rule):
    ids = torch.arange(50).repeat(240).view(300, 40)
    RULES[rule](masking, ids, generator=1)
    RULES[rule](host, ids.numpy(), seed=1)


def test_the_whole_range_of_a_type_is_a_vocabulary():
    ids = torch.tensor([[0, 2**15 - 1]], dtype=torch.int16)
    options = {"mask_token_id": 4, "vocab_size": 2**15, "mlm_probability": 0.0}
    assert torch.equal(masking.mask_tokens(ids, **options, generator=1)[0], ids)
    with pytest.raises(ValueError, match=r"ids must be in \[0, 32767\], got -1"):
        masking.mask_tokens(ids - 1, **options, generator=1)


@pytest.mark.parametrize("rule", RULES)
def test_compat_lets_them_pass(rule):
    ids = ids_with(70, 3, 5)
    ids[:, 7] = -3
    out = RULES[rule](masking, ids, mode="compat", generator=1)
    arrays = RULES[rule](host, ids.numpy(), mode="compat", seed=1)
    assert all_equal(out, map(torch.from_numpy, arrays))
    stays = out[1] == -100
    assert torch.equal(out[0][stays], ids[stays])
    assert torch.equal(out[1][~stays], ids[~stays])


@pytest.mark.parametrize("rule", RULES)
def test_compiled(rule):
    function = getattr(masking, rule)
    options = {"word_ids": torch.arange(40).expand(300, 40)} if rule == "mask_words" else {}
    compiled = torch.compile(lambda ids: function(ids, **OPTIONS, **options, generator=1)[:2], fullgraph=True)
    good = ids_with(0, 0, 0)
    assert all_equal(compiled(good), RULES[rule](masking, good, generator=1)[:2])
    with pytest.raises(ValueError, match=f"^{rule}: ids must be in \\[0, 49\\], got 50$"):
        compiled(ids_with(50, 1, 1))


def test_collators_speak_in_their_own_name():
    special = {"mask_token_id": 4, "pad_token_id": 0, "vocab_size": 50, "special_ids": [0, 1, 2, 3, 4]}
    words = [{"input_ids": [1, 60, 2], "word_ids": [None, 0, None]}]
    for collator, examples in ((MLMCollator(**special), [[1, 60, 2]]), (WholeWordCollator(**special), words)):
        with pytest.raises(ValueError, match=f"^{type(collator).__name__}: ids must be in \\[0, 49\\], got 60$"):
            collator(examples)
    batch = MLMCollator(**special, mode="compat", mlm_probability=0.0)([[1, 60, 2]])
    assert batch["input_ids"].tolist() == [[1, 60, 2]]


class Tokenizer:
    """What torch_mask_tokens asks of a tokenizer."""

    mask_token_id, pad_token_id, all_special_ids = 4, 0, (0, 4)

    def __len__(self) -> int:
        return 50


def test_a_drop_in_lets_them_pass_as_its_peer_does():
    ids, labels = torch_mask_tokens(torch.tensor([[60, 7]]), tokenizer=Tokenizer(), mlm_probability=0.0)
    assert ids.tolist() == [[60, 7]]
    assert (labels == -100).all()


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrong", [50, -1, 2**62])
def test_a_gpu_copies_them(rule, wrong):
    ids = ids_with(wrong, 3, 5)
    words = torch.arange(40).expand(300, 40)
    options = {"word_ids": words.cuda()} if rule == "mask_words" else {}
    out = getattr(masking, rule)(ids.cuda(), **OPTIONS, **options, generator=1)
    stays = out[1].cpu() == -100
    assert torch.equal(out[0].cpu()[stays], ids[stays])
    assert torch.equal(out[1].cpu()[~stays], ids[~stays])
    assert all_equal([stays], [RULES[rule](masking, ids_with(0, 3, 5), generator=1)[1] == -100])
