"""whole_word_mask: bit for bit the reference on every path, whole words always, and the words of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import all_equal
from peer_oracle import peer

from sslfast import host, ops
from sslfast.masking import mask_words
from sslfast.reference import whole_word_mask as reference

VOCAB, MASK = 1000, 4
TOKENS = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": 0.3}

# (rows, length) and why it is there
SIZES = [
    (1, 1),  # one token of a counter's four
    (3, 7),  # not a multiple of four
    (5, 128),
    (2, 1024),  # one whole chunk of the CPU kernel, one step of the CUDA kernel
    (2, 1027),  # past it: a word goes over the edge
    (300, 3),  # more rows than the CUDA kernel has threads
    (0, 8),  # no rows
    (3, 0),  # no tokens
]


def text(rows: int, length: int, dtype: torch.dtype = torch.int64) -> dict[str, torch.Tensor]:
    """Ids, words of one to many tokens, their offsets, and special tokens within and at the end."""
    ids = torch.randint(VOCAB, (rows, length), dtype=dtype)
    special = torch.rand(rows, length) < 0.1
    if length > 1000:
        special[:, 1000:] = False
    starts = torch.rand(rows, length) < 0.4
    if length > 1000:
        starts[:, 1001:1026] = False  # one word around the edge of a chunk
    word_ids = torch.where(special, -1, starts.cumsum(1))
    covered = torch.where(special, 0, torch.randint(1, 5, (rows, length)))
    ends = (covered + (starts | special)).cumsum(1)
    return {
        "ids": ids,
        "word_ids": word_ids,
        "offset_mapping": torch.stack([ends - covered, ends], 2),
        "special": special,
    }


def _check(device: torch.device, ids: torch.Tensor, special: torch.Tensor | None = None, **arguments: Any) -> None:
    """The operator and the NumPy face against the reference."""
    arguments = TOKENS | arguments
    seed = arguments.pop("seed", 7)
    before = [t.clone() for t in (ids, *(v for v in arguments.values() if isinstance(v, torch.Tensor)))]
    expected = reference.mask_words(ids, special_tokens_mask=special, seed=seed, **arguments)
    there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    on_device = None if special is None else special.to(device)
    ours = mask_words(ids.to(device), special_tokens_mask=on_device, generator=seed, **there)
    here = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    array = None if special is None else special.numpy()
    arrays = host.mask_words(ids.numpy(), special_tokens_mask=array, seed=seed, threads=2, **here)
    for name, k, a, g in zip(("ids", "labels", "masked"), ours, arrays, expected, strict=True):
        assert k.dtype == g.dtype, name
        assert torch.equal(k.cpu(), g), name
        assert a.dtype == g.numpy().dtype, name
        assert np.array_equal(a, g.numpy()), name
    after = [ids, *(v for v in arguments.values() if isinstance(v, torch.Tensor))]
    assert all_equal(after, before)


@pytest.mark.parametrize("replace", ["token", "word"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, dtype, replace):
    given = text(rows, length, dtype)
    for words in ("word_ids", "offset_mapping"):
        for special in (None, given["special"], torch.rand(rows, length) < 0.2):
            _check(device, given["ids"], special, replace=replace, **{words: given[words]})


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_the_mask_token_alone(device, rows, length, probability):
    """What is no draw at all, over offsets without gaps, with them, and by numbers of words."""
    given = text(rows, length)
    options = {"mlm_probability": probability, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    apart = torch.stack([given["offset_mapping"]] * 2, 3)[..., 0]
    for words in (
        {"offset_mapping": given["offset_mapping"]},
        {"offset_mapping": apart},
        {"word_ids": given["word_ids"]},
    ):
        _check(device, given["ids"], given["special"], **words, **options)


@pytest.mark.parametrize("probability", [0.0, 0.02, 1.0])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_one_masked_word_in_every_row(device, rows, length, probability):
    given = text(rows, length)
    special = given["special"].clone()
    special[::3] = True  # rows of special tokens alone
    _check(device, given["ids"], special, word_ids=given["word_ids"], mlm_probability=probability, min_masked=1)
    _check(device, given["ids"], offset_mapping=given["offset_mapping"], mlm_probability=probability, min_masked=1)
    labels = mask_words(
        given["ids"].to(device),
        word_ids=given["word_ids"].to(device),
        special_tokens_mask=special.to(device),
        min_masked=1,
        **TOKENS | {"mlm_probability": probability},
    )[1].cpu()
    ordinary = ~special & (given["word_ids"] >= 0)
    masked = labels != -100
    assert not (masked & ~ordinary).any()
    assert torch.equal(masked.any(1), ordinary.any(1))


@pytest.mark.parametrize(("seed", "row_offset"), [(0, 0), (-1, 3), (2**63 - 1, 2**40), (-(2**63), 1)])
def test_seeds_and_row_offsets(device, seed, row_offset):
    given = text(9, 50)
    _check(device, given["ids"], word_ids=given["word_ids"], seed=seed, row_offset=row_offset)
    samples = torch.tensor([5, -3, 2**62, 0, 5, 1, 2, 3, 4])
    _check(device, given["ids"], word_ids=given["word_ids"], seed=seed, sample_ids=samples)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("table", [None, torch.randint(VOCAB, (90,))[::3]], ids=["vocabulary", "table"])
def test_replacements(device, shares, table):
    given = text(4, 33)
    names = ("mask_replace_prob", "random_replace_prob")
    arguments = dict(zip(names, shares, strict=True)) | {"random_token_ids": table, "mlm_probability": 0.7}
    for replace in ("token", "word"):
        _check(device, given["ids"], word_ids=given["word_ids"], replace=replace, **arguments)


def test_any_strides_and_integers(device):
    given = text(40, 60)
    special = given["special"].T
    ids, words, offsets = given["ids"].T, given["word_ids"].T, given["offset_mapping"].transpose(0, 1)
    _check(device, ids, special, word_ids=words)
    _check(device, ids, special, offset_mapping=offsets)
    _check(device, ids[::2, 1::3], word_ids=words[::2, 1::3])
    _check(device, ids[:1].expand(5, 40), offset_mapping=offsets[:1].expand(5, 40, 2))
    _check(device, ids, word_ids=words.to(torch.int16), special=special.to(torch.uint8))
    _check(device, ids, offset_mapping=offsets.int().permute(2, 0, 1).contiguous().permute(1, 2, 0))
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(54).reshape(6, 9) // 2
    expected = host.mask_words(record["id"].copy(), word_ids=record["id"].copy(), seed=1, **TOKENS)
    ours = host.mask_words(record["id"], word_ids=record["id"], seed=1, **TOKENS)
    assert all(np.array_equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_one_dimension(device):
    given = {name: t[0] for name, t in text(1, 50).items()}
    ids = given["ids"].to(device)
    for words in ("word_ids", "offset_mapping"):
        ours = mask_words(ids, **{words: given[words].to(device)}, generator=2, **TOKENS)
        arrays = host.mask_words(given["ids"].numpy(), **{words: given[words].numpy()}, seed=2, **TOKENS)
        expected = reference.mask_words(given["ids"][None], **{words: given[words][None]}, seed=2, **TOKENS)
        for k, a, g in zip(ours, arrays, expected, strict=True):
            assert torch.equal(k.cpu(), g.flatten())
            assert np.array_equal(a, g.flatten().numpy())


# ---- what a word is


def masked_words(word_ids: list[int], seed: int, **arguments: Any) -> list[bool]:
    numbers = torch.tensor([word_ids])
    arguments = TOKENS | {"mlm_probability": 0.5, "generator": seed} | arguments
    return (mask_words(torch.full_like(numbers, 7), word_ids=numbers, **arguments)[1][0] != -100).tolist()


def test_runs_of_a_number_are_words():
    """Of a pair of texts both have a word 0; a token in no word stands between."""
    row = [-1, 0, 0, 1, -1, 1, 2, 2, 2, 0, -1, -1]
    groups = [[1, 2], [3], [5], [6, 7, 8], [9]]
    seen = set()
    for seed in range(60):
        masked = masked_words(row, seed)
        assert not any(masked[t] for t in (0, 4, 10, 11))
        for group in groups:
            assert len({masked[t] for t in group}) == 1
        seen.add(tuple(masked[group[0]] for group in groups))
    assert len(seen) > 20  # of 32: no two words go together


def test_a_special_token_parts_a_word():
    special = torch.zeros(1, 5, dtype=torch.bool)
    special[0, 2] = True
    halves = {tuple(masked_words([3, 3, 3, 3, 3], seed, special_tokens_mask=special)) for seed in range(40)}
    assert halves == {(a, a, False, b, b) for a in (False, True) for b in (False, True)}


def test_replace_word_draws_once_a_word():
    words = torch.arange(400).repeat_interleave(5)[None]
    ids = torch.full_like(words, 7)
    arguments = TOKENS | {"mlm_probability": 1.0, "vocab_size": 10**6, "generator": 1}
    for replace, kinds in (("word", 1), ("token", 3)):
        out = mask_words(ids, word_ids=words, replace=replace, **arguments)[0].view(400, 5)
        kind = torch.where(out == MASK, 0, torch.where(out == 7, 1, 2))
        assert max(len(set(row.tolist())) for row in kind) == kinds
        randomised = out[(kind == 2).all(1)]
        assert replace == "token" or all(len(set(row.tolist())) == 5 for row in randomised)  # each its own id


@pytest.mark.parametrize("seed", range(5))
def test_words_of_transformers(seed):
    """Every word of the peer is masked as one, and every start of one with the probability."""
    collator = peer("transformers").DataCollatorForLanguageModeling
    given = text(30, 40)
    special = given["special"] | (torch.rand(30, 40) < 0.1)
    offsets = given["offset_mapping"]
    words, no_start = collator._calc_word_ids_and_prob_mask(offsets.numpy(), special.long().numpy())
    labels = mask_words(
        given["ids"],
        offset_mapping=offsets,
        special_tokens_mask=special,
        generator=seed,
        **TOKENS | {"mlm_probability": 0.5},
    )[1]
    masked = (labels != -100).numpy()
    theirs = collator._whole_word_mask(words, masked & ~no_start)
    assert np.array_equal(masked, theirs)
    assert masked.any()


# ---- torch's machinery


def test_opcheck(device):
    given = {name: t.to(device) for name, t in text(3, 10).items()}
    seed, samples = torch.tensor(3), torch.arange(3, device=device)
    numbers = (MASK, VOCAB, 0.15, 0.8, 0.1)
    for words, special, table in (
        (given["word_ids"], None, None),
        (given["offset_mapping"], given["special"], torch.arange(5, device=device)),
    ):
        arguments = (given["ids"], words, special, seed, samples, *numbers, True, 0, table, 1, None)
        torch.library.opcheck(ops.whole_word_mask, arguments)


def test_compiles_to_one_graph(device):
    compiled = torch.compile(mask_words, fullgraph=True)
    for rows, length, probability in ((4, 16, 0.15), (9, 30, 0.15), (9, 30, 0.4)):  # from the second on with symbols
        given = {name: t.to(device) for name, t in text(rows, length).items()}
        arguments = TOKENS | {"mlm_probability": probability, "generator": 8, "word_ids": given["word_ids"]}
        assert all_equal(compiled(given["ids"], **arguments), mask_words(given["ids"], **arguments))
