"""permutation_mask: bit for bit the reference on every path, who sees whom, and transformers' collator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import all_equal
from peer_oracle import peer

from sslfast import host, ops
from sslfast.masking import PermutationMask, permutation_mask
from sslfast.masking.drop_in.transformers import DataCollatorForPermutationLanguageModeling
from sslfast.reference import permutation_mask as reference

MASK = 4

# (rows, length) and why it is there
SIZES = [
    (3, 2),  # the shortest that has two halves
    (3, 8),  # less than a context
    (2, 128),
    (2, 514),  # past a block of the CUDA kernel
    (0, 8),  # no rows
    (3, 0),  # no tokens
]


def _ids(rows: int, length: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(5, 1000, (rows, length), dtype=dtype)


def _check(ids, device, special=None, **options) -> PermutationMask:
    """The operator and the NumPy face against the reference."""
    options = {"mask_token_id": MASK} | options
    seed = options.pop("seed", 7)
    before = ids.clone()
    expected = reference.permutation_mask(ids, special_tokens_mask=special, seed=seed, **options)
    on_device = special.to(device) if special is not None else None
    ours = permutation_mask(ids.to(device), special_tokens_mask=on_device, generator=seed, **options)
    assert isinstance(ours, PermutationMask)
    assert all_equal(ours, expected)
    array = special.numpy() if special is not None else None
    kind = np.bool_ if options.get("dtype") == torch.bool else np.float32
    found = host.permutation_mask(
        ids.numpy(), special_tokens_mask=array, seed=seed, threads=2, **(options | {"dtype": kind})
    )
    assert all_equal([torch.from_numpy(a.copy()) for a in found], expected)
    assert torch.equal(ids, before)
    return ours


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, mode):
    for probability, longest in ((1 / 6, 5), (0.5, 1), (1.0, 3), (0.01, 64)):
        options = {"plm_probability": probability, "max_span_length": longest, "mode": mode}
        _check(_ids(rows, length), device, **options)
        _check(_ids(rows, length, torch.int32), device, torch.rand(rows, length) < 0.3, dtype=torch.bool, **options)
    _check(_ids(rows, length), device, torch.ones(rows, length, dtype=torch.int64), mode=mode)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("row_offset", [0, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(_ids(4, 51), device, seed=seed, row_offset=row_offset)


def test_any_strides(device):
    base = _ids(40, 60)
    for ids in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7]):
        special = (torch.rand(60, 60) < 0.3).T[: ids.shape[0], : ids.shape[1]]
        _check(ids, device, special)


def test_nobody_sees_what_he_predicts(device):
    """Through any number of layers: exact mode has no way round, compat mode has one over special tokens."""
    special = torch.zeros(20, 40, dtype=torch.bool)
    special[:, [0, 17, 38, 39]] = True
    for mode, leaks in (("exact", False), ("compat", True)):
        out = permutation_mask(
            _ids(20, 40).to(device), mask_token_id=MASK, special_tokens_mask=special.to(device), mode=mode, generator=1
        )
        sees = 1 - out.perm_mask.cpu()
        reach = sees.clone()
        for _ in range(6):
            reach = (reach + reach @ reach).clamp(max=1)
        found = reach.diagonal(dim1=1, dim2=2)[out.mask.cpu()]
        assert bool(found.any()) == leaks


def test_context_is_seen_by_all_and_masked_tokens_in_their_order(device):
    out = permutation_mask(_ids(10, 37).to(device), mask_token_id=MASK, dtype=torch.bool, generator=2)
    mask, order, hidden = out.mask.cpu(), out.order.cpu(), out.perm_mask.cpu()
    assert mask.any(1).all()
    for row in range(10):
        assert not hidden[row][:, ~mask[row]].any()
        assert hidden[row][~mask[row]][:, mask[row]].all()
        places = order[row][mask[row]]
        assert len(places.unique()) == len(places)
        expected = places[:, None] <= places
        assert torch.equal(hidden[row][mask[row]][:, mask[row]], expected)
    assert torch.equal(out.target_mapping.cpu(), torch.eye(37, dtype=torch.bool).expand(10, 37, 37))


def test_at_least_one_is_masked():
    special = torch.rand(300, 9) < 0.8
    out = permutation_mask(_ids(300, 9), mask_token_id=MASK, special_tokens_mask=special, plm_probability=0.01)
    assert torch.equal(out.mask.any(1), (~special).any(1))
    assert not (out.mask & special).any()


def test_composes(device):
    ids = _ids(3, 20).to(device)
    special = torch.rand(3, 20, device=device) < 0.3
    for as_bool in (True, False):
        torch.library.opcheck(
            ops.permutation_mask, (ids, special, torch.tensor(3), None, MASK, [6, 12], as_bool, False, 0)
        )
    compiled = torch.compile(permutation_mask, fullgraph=True)
    options = {"mask_token_id": MASK, "special_tokens_mask": special, "generator": 3}
    assert all_equal(compiled(ids, **options), permutation_mask(ids, **options))


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": [1]}, TypeError, "ids must be a tensor, got list"),
        ({"ids": torch.zeros(2, 3)}, TypeError, "ids must be int64 or int32, got torch.float32"),
        ({"ids": torch.zeros(3).long()}, ValueError, "ids must have shape (N, L) with L < 2^30, got (3,)"),
        ({"mask_token_id": -1}, ValueError, "mask_token_id must be at least 0, got -1"),
        (
            {"special_tokens_mask": torch.zeros(2, 3)},
            TypeError,
            "special_tokens_mask must be a bool or integer tensor, got torch.float32",
        ),
        (
            {"special_tokens_mask": torch.zeros(3).bool()},
            ValueError,
            "special_tokens_mask must have shape (2, 3), like ids, got (3,)",
        ),
        ({"plm_probability": 0.0}, ValueError, "plm_probability must be in [1e-6, 1], got 0.0"),
        ({"plm_probability": 1.1}, ValueError, "plm_probability must be in [1e-6, 1], got 1.1"),
        ({"max_span_length": 0}, ValueError, "max_span_length must be in [1, 64], got 0"),
        ({"max_span_length": 65}, ValueError, "max_span_length must be in [1, 64], got 65"),
        ({"mode": "fast"}, ValueError, "mode must be 'exact' or 'compat', got 'fast'"),
        ({"mode": "compat"}, ValueError, "ids must have an even length in compat mode, got 3"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"ids": torch.zeros(2, 3).long(), "mask_token_id": MASK} | arguments
    with pytest.raises(error) as raised:
        permutation_mask(**arguments)
    assert str(raised.value) == f"permutation_mask: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.permutation_mask(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor,", "an array,").replace("tensor,", "array,")
    assert str(raised.value) == f"permutation_mask: {expected}"


def test_bad_dtypes():
    ids = torch.zeros(2, 4).long()
    with pytest.raises(ValueError, match=r"^permutation_mask: dtype must be float32 or bool, got torch.float16$"):
        permutation_mask(ids, mask_token_id=MASK, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"^permutation_mask: dtype must be float32 or bool, got "):
        host.permutation_mask(ids.numpy(), mask_token_id=MASK, dtype=np.float64, seed=1)


# ---- transformers


def _tokenizer():
    tokenizers, transformers = peer("tokenizers"), peer("transformers")
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": 4} | {f"w{i}": i for i in range(5, 100)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, mask_token="[MASK]", **names)


def _examples(number: int) -> list[dict[str, object]]:
    rows = [[1, *range(5, 5 + length), 2] for length in ([30, 22, 28] * number)[:number]]
    return [{"input_ids": row, "idx": i} for i, row in enumerate(rows)]


def test_drop_in_gives_what_transformers_gives():
    transformers, tokenizer = peer("transformers"), _tokenizer()
    theirs = transformers.DataCollatorForPermutationLanguageModeling(tokenizer)
    ours = DataCollatorForPermutationLanguageModeling(tokenizer, seed=1)
    examples = _examples(600)
    plain = [{"input_ids": e["input_ids"]} for e in examples]
    a, b = ours(examples), theirs(plain)
    assert {k: (v.dtype, v.shape) for k, v in a.items()} == {k: (v.dtype, v.shape) for k, v in b.items()}
    assert torch.equal(a["target_mapping"], b["target_mapping"])
    for batch in (a, b):  # the same rule binds the parts of each
        masked = batch["labels"] != -100
        assert torch.equal(batch["perm_mask"].bool() & ~masked[:, None], torch.zeros(600, 32, 32, dtype=torch.bool))
        assert (batch["input_ids"][masked] == 4).all()
        hidden = batch["perm_mask"][:, 0]  # special: as its place in the order says
        assert 0 < hidden[masked].mean() < 1
    per_position = [(batch["labels"] != -100).double().mean(0) for batch in (a, b)]
    assert (per_position[0] - per_position[1]).abs().max() < 0.09  # four deviations of 600 rows
    seen = [batch["perm_mask"].mean((0, 1)) for batch in (a, b)]
    assert (seen[0] - seen[1]).abs().max() < 0.09
    inputs, perm_mask, target_mapping, labels = ours.torch_mask_tokens(torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]]))
    assert inputs.shape == labels.shape == (2, 4)
    assert perm_mask.shape == target_mapping.shape == (2, 4, 4)


def test_drop_in_by_sample():
    collator = DataCollatorForPermutationLanguageModeling(_tokenizer(), seed=1, sample_id_key="idx")
    examples = _examples(9)
    whole, part = collator(examples), collator(examples[3:6])
    assert all_equal([whole[k][3:6] for k in whole], [part[k] for k in whole])
    collator.set_epoch(1)
    assert not torch.equal(collator(examples)["labels"], whole["labels"])
    with pytest.raises(ValueError, match="return_tensors must be 'pt', got 'np'"):
        DataCollatorForPermutationLanguageModeling(_tokenizer(), return_tensors="np")
    with pytest.raises(TypeError, match=r"ids must be ints of 64 bits, got \[1, False\]"):
        collator([{"input_ids": [1, False], "idx": 0}])
    unpadded = _tokenizer()
    unpadded.pad_token = None
    with pytest.raises(ValueError, match="the tokenizer must have a padding token where lengths differ, got None"):
        DataCollatorForPermutationLanguageModeling(unpadded)([[1, 5], [1, 5, 6, 2]])
    with pytest.raises(ValueError, match="inputs must have an even length in compat mode, got 3"):
        collator([{"input_ids": [1, 5, 2], "idx": 0}])
