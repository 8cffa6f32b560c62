"""gumbel_sample: bit for bit the reference on every path, rows without a distribution, and ELECTRA's inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import electra_inputs, mask_indices, mask_tokens, sample_replacements
from sslfast.reference import gumbel_sample as reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

# (rows, vocabulary) and why it is there
SIZES = [
    (2, 1),  # nothing to choose
    (3, 7),  # not a multiple of four
    (5, 1024),  # one chunk of the CPU kernel, one step of the CUDA kernel
    (4, 1025),  # past it
    (3, 30522),  # BERT's
    (300, 5),  # more rows than a block has threads
    (0, 4),  # no rows
]


def _check(logits: torch.Tensor, device: torch.device, positions: torch.Tensor | None = None, **options) -> None:
    """The operator and the NumPy face against the reference."""
    seed = options.pop("seed", 7)
    expected = reference.sample_replacements(logits, positions=positions, seed=seed, **options)
    on_device = positions.to(device) if positions is not None else None
    ours = sample_replacements(logits.to(device), positions=on_device, generator=seed, **options)
    assert all_equal([ours], [expected])
    if logits.dtype != torch.bfloat16:
        array = positions.numpy() if positions is not None else None
        found = host.sample_replacements(logits.numpy(), positions=array, seed=seed, threads=2, **options)
        assert all_equal([torch.from_numpy(found)], [expected])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "vocabulary"), SIZES)
def test_equals_reference(device, rows, vocabulary, dtype):
    for scale in (0.0, 1.0, 30.0):  # flat, a model's, one id alone
        logits = (torch.randn(rows, vocabulary) * scale).to(dtype)
        for temperature in (1.0, 0.05, 20.0):
            _check(logits, device, temperature=temperature)
    _check(logits, device, positions=torch.randint(-2, 3, (rows,)))


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("row_offset", [0, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(torch.randn(9, 100), device, seed=seed, row_offset=row_offset)


@pytest.mark.parametrize("magnitude", [1e-40, 1e20, 3e38])
@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e30])
def test_extreme_numbers(device, magnitude, temperature):
    """Scaled logits may leave the range of float32, in which ids are discarded, but not that of float64."""
    logits = torch.randn(6, 200).clamp(-1, 1) * magnitude
    _check(logits, device, temperature=temperature)
    _check(-logits.abs(), device, temperature=temperature)


def test_any_strides(device):
    base = torch.randn(40, 60)
    for logits in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7], base.half()[:, ::2]):
        _check(logits, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_a_distribution(device, dtype):
    logits = torch.randn(8, 3000, dtype=dtype)
    logits[0, 2999] = math.nan
    logits[1, 5] = math.inf
    logits[2] = -math.inf
    logits[3, 1:] = -math.inf
    logits[4, ::2] = -math.inf
    logits[5, 0], logits[5, 7] = math.nan, -math.inf
    logits[6] = -math.inf
    logits[6, 1500] = torch.finfo(dtype).min
    _check(logits, device)
    ids = sample_replacements(logits.to(device)).tolist()
    assert ids[:4] == [-1, -1, -1, 0]
    assert ids[4] % 2 == 1
    assert ids[5:7] == [-1, 1500]


def test_equal_scores_go_to_the_lower_id():
    """Where a huge logit swallows the noise, ids with equal logits tie."""
    logits = torch.zeros(4, 3000)
    logits[:, [7, 1100, 2999]] = 1e30
    assert sample_replacements(logits).tolist() == [7] * 4


def test_no_gradient_is_taken():
    logits = torch.randn(3, 10, requires_grad=True)
    assert not sample_replacements(logits).requires_grad


def test_composes(device):
    logits, positions = torch.randn(4, 50, device=device), torch.tensor([3, -1, 0, 9], device=device)
    for given in (None, positions):
        torch.library.opcheck(ops.gumbel_sample, (logits, given, torch.tensor(3), None, 0.5, 0))
    compiled = torch.compile(sample_replacements, fullgraph=True)
    expected = sample_replacements(logits, positions=positions, generator=3)
    assert torch.equal(compiled(logits, positions=positions, generator=3), expected)


# ---- electra_inputs


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_electra_inputs(device, dtype):
    ids = torch.randint(50, (6, 30), dtype=dtype)
    labels, positions = mask_tokens(ids, mask_token_id=4, vocab_size=50, mlm_probability=0.5)[1:]
    sampled = torch.where(positions < 0, -1, torch.randint(50, positions.shape))
    flat = (ids, positions, sampled)
    mask = labels != -100
    dense = (ids, mask, torch.randint(50, ids.shape))
    for arguments in (flat, dense):
        before = [a.clone() for a in arguments]
        ours = electra_inputs(*(a.to(device) for a in arguments))
        assert all_equal(ours, reference.electra_inputs(*arguments))
        given = [np.asfortranarray(a.numpy()) for a in arguments]  # any strides
        assert all_equal(map(torch.from_numpy, host.electra_inputs(*given)), ours)
        assert all_equal([*map(torch.from_numpy, given), *arguments], [*before, *before])
        compiled = torch.compile(electra_inputs, fullgraph=True, backend="aot_eager")
        assert all_equal(compiled(*(a.to(device) for a in arguments)), ours)
    assert torch.equal(mask_indices(mask).indices, positions)


def test_a_sampled_original_is_original():
    ids = torch.tensor([[5, 6, 7]])
    corrupted, is_replaced = electra_inputs(ids, torch.tensor([0, 2, -1]), torch.tensor([5, 9, 3]))
    assert corrupted.tolist() == [[5, 6, 9]]
    assert is_replaced.tolist() == [[False, False, True]]


def test_electra_as_a_whole():
    """Mask, a generator's logits at fixed size, sample, corrupt: every replaced token was masked."""
    ids = torch.randint(5, 100, (4, 40))
    masked_ids, labels, positions = mask_tokens(ids, mask_token_id=4, vocab_size=100, generator=1)
    positions = positions[:60]
    logits = torch.randn(60, 100)
    sampled = sample_replacements(logits, positions=positions, generator=2)
    assert torch.equal(sampled >= 0, positions >= 0)
    _, is_replaced = electra_inputs(ids, positions, sampled)
    assert not (is_replaced & (labels == -100)).any()
    assert is_replaced.any()
    assert not torch.equal(masked_ids, ids)


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logits": [1.0]}, TypeError, "logits must be a tensor, got list"),
        ({"logits": torch.zeros(2, 3, 4)}, ValueError, "logits must have shape (R, V) with V >= 1, got (2, 3, 4)"),
        ({"logits": torch.zeros(2, 0)}, ValueError, "logits must have shape (R, V) with V >= 1, got (2, 0)"),
        ({"temperature": 0}, ValueError, "temperature must be at least 1e-30, got 0"),
        ({"temperature": -1.0}, ValueError, "temperature must be at least 1e-30, got -1.0"),
        ({"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
        ({"temperature": "1"}, TypeError, "temperature must be a number, got str"),
        ({"positions": [1, 2]}, TypeError, "positions must be an int64 tensor, got list"),
        ({"positions": torch.ones(2)}, TypeError, "positions must be an int64 tensor, got torch.float32"),
        ({"positions": torch.ones(3).long()}, ValueError, "positions must have shape (2,), one a row, got (3,)"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"logits": torch.zeros(2, 3)} | arguments
    with pytest.raises(error) as raised:
        sample_replacements(**arguments)
    assert str(raised.value) == f"sample_replacements: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(error) as raised:
        host.sample_replacements(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor,", "an array,").replace("tensor,", "array,")
    assert str(raised.value) == f"sample_replacements: {expected}"


def test_bad_dtypes():
    with pytest.raises(TypeError) as raised:
        sample_replacements(torch.zeros(2, 3, dtype=torch.float64))
    assert str(raised.value) == "sample_replacements: logits must be float32, bfloat16 or float16, got torch.float64"
    with pytest.raises(TypeError) as raised:
        host.sample_replacements(np.zeros((2, 3)), seed=1)
    assert str(raised.value) == "sample_replacements: logits must be float32 or float16, got float64"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": [[1]]}, TypeError, "ids must be an int64 or int32 tensor, got list"),
        ({"ids": torch.zeros(3).long()}, ValueError, "ids must have shape (N, L), got (3,)"),
        ({"masked": torch.zeros(2)}, TypeError, "masked must be an int64 or bool tensor, got torch.float32"),
        ({"masked": torch.ones(3).bool()}, ValueError, "masked must have shape (2, 3), like ids, got (3,)"),
        ({"masked": torch.ones(1, 1).long()}, ValueError, "masked must have shape (R,), got (1, 1)"),
        ({"masked": torch.tensor([0, 6])}, ValueError, "masked must be in [-1, 5], got 6"),
        ({"masked": torch.tensor([-2, 1])}, ValueError, "masked must be in [-1, 5], got -2"),
        ({"sampled": torch.zeros(1)}, TypeError, "sampled must be an int64 or int32 tensor, got torch.float32"),
        ({"sampled": torch.zeros(3).long()}, ValueError, "sampled must have shape (2,), like masked, got (3,)"),
        ({"sampled": torch.zeros(2).long().to("meta")}, ValueError, "sampled must be on cpu, like ids, got meta"),
    ],
)
def test_bad_electra_input(arguments, error, message):
    good = {"ids": torch.zeros(2, 3).long(), "masked": torch.tensor([0, 1]), "sampled": torch.tensor([1, 1])}
    with pytest.raises(error) as raised:
        electra_inputs(**(good | arguments))
    assert str(raised.value) == f"electra_inputs: {message}"
    if "meta" in message:  # an array is on no device
        return
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (good | arguments).items()}
    with pytest.raises(error) as raised:
        host.electra_inputs(**arrays)
    assert str(raised.value) == f"electra_inputs: {message}".replace(" tensor,", " array,").replace("torch.", "")
