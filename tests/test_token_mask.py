"""token_mask: bit for bit the reference on every path, and BERT's distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslfast import host, ops
from sslfast.masking import mask_tokens
from sslfast.random import seed_tensor
from sslfast.reference import token_mask as reference

VOCAB, MASK = 1000, 4

# (rows, length) and why it is there
SIZES = [
    (1, 1),  # one token of a counter's four
    (3, 7),  # not a multiple of four
    (5, 128),
    (2, 1024),  # one whole chunk of the CPU kernel, one step of the CUDA kernel
    (2, 1027),  # past it
    (700, 3),  # more rows than the CUDA kernel has threads
    (0, 8),  # no rows
    (3, 0),  # no tokens
]


def _ids(rows: int, length: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(VOCAB, (rows, length), dtype=dtype)


def _check(ids: torch.Tensor, device: torch.device, special: torch.Tensor | None = None, **arguments) -> None:
    """The operator and the NumPy face against the reference."""
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": 0.3} | arguments
    seed = arguments.pop("seed", 7)
    row_offset = arguments.get("row_offset", 0)
    expected = reference.mask_tokens(ids, special_tokens_mask=special, seed=seed, **arguments)
    on_device = special.to(device) if special is not None else None
    before = ids.clone()
    there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    ours = mask_tokens(ids.to(device), special_tokens_mask=on_device, generator=seed, **there)
    special_array = special.numpy() if special is not None else None
    here = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    arrays = host.mask_tokens(ids.numpy(), special_tokens_mask=special_array, seed=seed, threads=2, **here)
    for name, k, a, g in zip(("ids", "labels", "masked"), ours, arrays, expected, strict=True):
        assert k.dtype == g.dtype, name
        assert torch.equal(k.cpu(), g), name
        assert a.dtype == g.numpy().dtype, name
        assert np.array_equal(a, g.numpy()), name
    assert torch.equal(ids, before)
    assert row_offset == 0 or ids.numel() == 0 or not torch.equal(ours[2].cpu(), _at_row_0(ids, arguments, seed))


def _at_row_0(ids: torch.Tensor, arguments: dict, seed: int) -> torch.Tensor:
    return reference.mask_tokens(ids, seed=seed, **(arguments | {"row_offset": 0}))[2]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, dtype):
    _check(_ids(rows, length, dtype), device)
    _check(_ids(rows, length, dtype), device, special=torch.rand(rows, length) < 0.2)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("row_offset", [0, 3, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(_ids(9, 50), device, seed=seed, row_offset=row_offset)


@pytest.mark.parametrize(
    "probabilities", [(0.0, 0.8, 0.1), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1e-9, 0, 0)]
)
def test_extreme_probabilities(device, probabilities):
    names = ("mlm_probability", "mask_replace_prob", "random_replace_prob")
    _check(_ids(4, 33), device, **dict(zip(names, probabilities, strict=True)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_random_words_from_a_table(device, rows, length, dtype):
    """The table is used as it stands: repeated ids, any stride."""
    for table in (torch.tensor([7]), torch.randint(VOCAB, (90,))[::3]):
        arguments = {"mlm_probability": 0.8, "mask_replace_prob": 0.2, "random_replace_prob": 0.8}
        _check(_ids(rows, length, dtype), device, random_token_ids=table, **arguments)
    ids = _ids(rows, length, dtype)
    out, labels, _ = mask_tokens(
        ids.to(device),
        mask_token_id=MASK,
        vocab_size=VOCAB,
        mlm_probability=1.0,
        mask_replace_prob=0,
        random_replace_prob=1,
        random_token_ids=torch.tensor([11, 13], device=device),
    )
    assert set(out.flatten().tolist()) <= {11, 13}
    assert torch.equal(labels.cpu(), ids)


@pytest.mark.parametrize("probability", [0.0, 0.02, 1.0])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_one_masked_token_in_every_row(device, rows, length, probability):
    special = torch.rand(rows, length) < 0.5
    special[::3] = True  # rows of special tokens alone
    ids = _ids(rows, length)
    for mask in (None, special):
        _check(ids, device, special=mask, mlm_probability=probability, min_masked=1)
        arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": probability, "min_masked": 1}
        on_device = None if mask is None else mask.to(device)
        labels = mask_tokens(ids.to(device), special_tokens_mask=on_device, **arguments)[1].cpu()
        masked = labels != -100
        ordinary = ~special if mask is not None else torch.ones_like(special)
        assert not (masked & ~ordinary).any()
        assert torch.equal(masked.any(1), ordinary.any(1))
        assert probability or torch.equal(masked.sum(1), ordinary.any(1).long())


def test_only_padding(device):
    ids = torch.zeros(5, 12, dtype=torch.int64, device=device)
    for min_masked in (0, 1):
        out, labels, masked = mask_tokens(
            ids,
            mask_token_id=MASK,
            vocab_size=VOCAB,
            special_tokens_mask=torch.ones_like(ids),
            mlm_probability=1.0,
            min_masked=min_masked,
        )
        assert torch.equal(out, ids)
        assert (labels == -100).all()
        assert (masked == -1).all()


def test_certain_and_impossible_events():
    ids = _ids(4, 33)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "generator": 1}
    out, labels, masked = mask_tokens(
        ids, mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0, **arguments
    )
    assert (out == MASK).all()
    assert torch.equal(labels, ids)
    assert torch.equal(masked, torch.arange(ids.numel()))
    out, labels, masked = mask_tokens(ids, mlm_probability=0.0, **arguments)
    assert torch.equal(out, ids)
    assert (labels == -100).all()
    assert (masked == -1).all()


def test_any_strides(device):
    base = _ids(40, 60)
    for ids in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7]):
        special = (torch.rand(60, 40) < 0.3).T[: ids.shape[0], : ids.shape[1]]
        special = special if special.shape == ids.shape else None
        _check(ids, device, special=special)
    assert not base.T.is_contiguous()


def test_arrays_with_odd_strides():
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(54).reshape(6, 9)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "seed": 3, "mlm_probability": 0.5}
    for ids in (record["id"], record["id"][::-1, ::-2], np.asfortranarray(record["id"])):
        expected = host.mask_tokens(np.ascontiguousarray(ids), **arguments)
        assert all(np.array_equal(a, b) for a, b in zip(host.mask_tokens(ids, **arguments), expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_special_mask_kinds(device, dtype):
    ids = _ids(8, 40)
    special = torch.randint(3, ids.shape).to(dtype)
    _check(ids, device, special=special, mlm_probability=0.9)
    out, labels, _ = mask_tokens(
        ids.to(device),
        mask_token_id=MASK,
        vocab_size=VOCAB,
        special_tokens_mask=special.to(device),
        mlm_probability=1.0,
    )
    kept = special != 0
    assert torch.equal(out.cpu()[kept], ids[kept])
    assert (labels.cpu()[kept] == -100).all()
    assert torch.equal(labels.cpu()[~kept], ids[~kept])


def test_one_dimension(device):
    ids, special = _ids(1, 50)[0], torch.rand(50) < 0.5
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": 0.5}
    ours = mask_tokens(ids.to(device), special_tokens_mask=special.to(device), generator=2, **arguments)
    arrays = host.mask_tokens(ids.numpy(), special_tokens_mask=special.numpy(), seed=2, **arguments)
    expected = reference.mask_tokens(ids[None], special_tokens_mask=special[None], seed=2, **arguments)
    for k, a, g in zip(ours, arrays, expected, strict=True):
        assert torch.equal(k.cpu(), g.flatten())
        assert np.array_equal(a, g.flatten().numpy())
    empty = mask_tokens(ids[:0].to(device), special_tokens_mask=special[:0].to(device), generator=2, **arguments)
    assert [tuple(t.shape) for t in empty] == [(0,), (0,), (0,)]


def test_masked_are_the_positions_of_the_labels(device):
    ids = _ids(30, 77).to(device)
    _, labels, masked = mask_tokens(ids, mask_token_id=MASK, vocab_size=VOCAB)
    assert torch.equal(masked[masked >= 0], (labels.flatten() != -100).nonzero().flatten())
    count = int((masked >= 0).sum())
    assert (masked[count:] == -1).all()


def test_shards_equal_the_whole(device):
    ids = _ids(10, 40).to(device)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "generator": 11}
    whole = mask_tokens(ids, **arguments)
    parts = [mask_tokens(ids[a:b], row_offset=a, **arguments) for a, b in ((0, 3), (3, 4), (4, 10))]
    for i in range(2):
        assert torch.equal(whole[i], torch.cat([part[i] for part in parts]))


def test_any_number_of_threads():
    ids = _ids(64, 100)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 7):
            torch.set_num_threads(n)
            results.append(mask_tokens(ids, mask_token_id=MASK, vocab_size=VOCAB, generator=5))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


# ---- where seeds come from


def test_none_follows_the_global_generator():
    ids = _ids(8, 64)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB}
    torch.manual_seed(1)
    first, second = mask_tokens(ids, **arguments), mask_tokens(ids, **arguments)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    seeds = [seed_tensor(), seed_tensor()]
    assert torch.equal(torch.get_rng_state(), state)  # exactly one draw per call
    assert not torch.equal(first[0], second[0])
    for result, seed in zip((first, second), seeds, strict=True):
        assert torch.equal(result[0], mask_tokens(ids, generator=seed.item(), **arguments)[0])


def test_generators_ints_and_tensors_leave_the_global_stream_alone(device):
    ids = _ids(8, 64).to(device)
    state = torch.get_rng_state()
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB}
    by_int = mask_tokens(ids, generator=9, **arguments)
    by_tensor = mask_tokens(ids, generator=torch.tensor([9], device=device), **arguments)
    mask_tokens(ids, generator=torch.Generator().manual_seed(2), **arguments)
    assert all(torch.equal(a, b) for a, b in zip(by_int, by_tensor, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


# ---- torch's machinery


def test_opcheck(device):
    ids = _ids(3, 10).to(device)
    special = torch.rand(3, 10, device=device) < 0.5
    for mask, table in ((None, None), (special, torch.arange(5, device=device))):
        numbers = (MASK, VOCAB, 0.15, 0.8, 0.1, 0)
        arguments = (ids, mask, torch.tensor(3), torch.arange(3, device=device), *numbers)
        torch.library.opcheck(ops.token_mask, arguments)
        torch.library.opcheck(ops.token_mask, (*arguments, table, 1))


def test_compiles_to_one_graph(device):
    compiled = torch.compile(mask_tokens, fullgraph=True)
    for rows, length, probability in ((4, 16, 0.15), (9, 30, 0.15), (9, 30, 0.4)):  # from the second on with symbols
        ids = _ids(rows, length).to(device)
        arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": probability, "generator": 8}
        for k, g in zip(compiled(ids, **arguments), mask_tokens(ids, **arguments), strict=True):
            assert torch.equal(k, g)
    for seed in (9, -3, 2**62):  # a seed of each step is a symbol too
        arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "generator": seed}
        assert torch.equal(compiled(ids, **arguments)[0], mask_tokens(ids, **arguments)[0])
    torch.manual_seed(1)
    drawn = compiled(ids, mask_token_id=MASK, vocab_size=VOCAB)[0]
    assert not torch.equal(drawn, compiled(ids, mask_token_id=MASK, vocab_size=VOCAB)[0])
