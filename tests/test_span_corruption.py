"""span_corruption: bit for bit the reference on every path, T5's counts, and what breaks its peers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import CorruptedSpans, corrupt_spans, t5_lengths
from sslfast.masking.drop_in.t5 import compute_input_and_target_lengths
from sslfast.reference import span_corruption as reference

# (rows, length) and why it is there
SIZES = [
    (4, 2),  # the shortest that is corrupted
    (3, 7),  # not a multiple of four
    (5, 20),  # one span
    (5, 568),  # T5's
    (2, 1024),  # one chunk of the kernels
    (2, 1031),  # past it
    (3, 1),  # too short
    (0, 8),  # no rows
    (3, 0),  # no tokens
]
# density and mean length: T5's, as many spans as there are, more than fit, one span
SHAPES = [(0.15, 3.0), (0.5, 1.0), (0.9, 1.5), (0.3, 50.0)]


def _ids(rows: int, length: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(1000, (rows, length), dtype=dtype)


def _check(ids: torch.Tensor, device: torch.device, lengths: torch.Tensor | None = None, **arguments) -> None:
    """The operator and the NumPy face against the reference."""
    arguments = {"sentinel_id": 32099} | arguments
    seed = arguments.pop("seed", 7)
    before = ids.clone()
    expected = reference.corrupt_spans(ids, lengths=lengths, seed=seed, **arguments)
    on_device = lengths.to(device) if lengths is not None else None
    ours = corrupt_spans(ids.to(device), lengths=on_device, generator=seed, **arguments)
    assert isinstance(ours, CorruptedSpans)
    assert all_equal(ours, expected)
    array = lengths.numpy() if lengths is not None else None
    arrays = host.corrupt_spans(ids.numpy(), lengths=array, seed=seed, threads=2, **arguments)
    assert all_equal([torch.from_numpy(a) for a in arrays], expected)
    assert torch.equal(ids, before)


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("rows", "length"), SIZES)
def test_equals_reference(device, rows, length, mode):
    for density, mean in SHAPES:
        options = {"mode": mode, "noise_density": density, "mean_noise_span_length": mean}
        _check(_ids(rows, length), device, **options)
        _check(_ids(rows, length, torch.int32), device, **options, eos_token_id=None, descending=False)
        lengths = torch.randint(-1, length + 2, (rows,)).clamp(0, length)
        _check(_ids(rows, length), device, lengths=lengths, **options, pad_token_id=-5)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("row_offset", [0, 2**40])
def test_seeds_and_row_offsets(device, seed, row_offset):
    _check(_ids(6, 50), device, seed=seed, row_offset=row_offset)


def test_any_strides(device):
    base = _ids(40, 60)
    for ids in (base.T, base[::2, 1::3], base[:1].expand(5, 60), base[3:, :7]):
        _check(ids, device)
    record = np.zeros((6, 9), dtype=[("flag", "i1"), ("id", "i8")])
    record["id"] = np.arange(54).reshape(6, 9)
    ours = host.corrupt_spans(record["id"], sentinel_id=99, seed=3)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(ours, host.corrupt_spans(np.arange(54).reshape(6, 9), sentinel_id=99, seed=3), strict=True)
    )


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(("density", "mean"), SHAPES)
def test_inputs_and_targets_make_the_text(mode, density, mean):
    """Put back, the spans give the text; they are as many and as long together as T5 counts, and never touch."""
    for length in (2, 3, 10, 21, 100, 568):
        ids = torch.arange(10, 10 + length).repeat(20, 1)
        inputs, targets, _ = corrupt_spans(
            ids, sentinel_id=32099, mode=mode, noise_density=density, mean_noise_span_length=mean, generator=3
        )
        noise = min(max(round(length * density), 1), length - 1)
        for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
            assert row.pop() == target.pop() == 1
            spans: dict[int, list[int]] = {}
            for t in target:
                if t > 20000:
                    spans[t] = []
                else:
                    spans[next(reversed(spans))].append(t)
            assert list(spans) == [t for t in row if t > 20000] == list(range(32099, 32099 - len(spans), -1))
            assert sum(len(s) for s in spans.values()) == noise == len(target) - len(spans)
            assert all(spans.values())
            assert not any(a > 20000 and b > 20000 for a, b in pairwise(row)), "spans touch"
            text = [t for token in row for t in (spans[token] if token > 20000 else [token])]
            assert text == list(range(10, 10 + length))
            if mode == "compat":
                assert row[0] < 20000 < row[-1]
            wanted = min(max(round(noise / mean), 1), noise)
            assert len(spans) == min(wanted, length - noise + (mode == "exact"))


def test_shapes_hold_every_shorter_row():
    for density, mean in (*SHAPES, (0.01, 3.0), (0.99, 1.0)):
        for mode in ("exact", "compat"):
            sizes = [host.span_corruption.span_counts(length, density, mean, mode) for length in range(400)]
            inputs = [length - noise + spans for length, (noise, spans) in enumerate(sizes)]
            targets = [noise + spans for noise, spans in sizes]
            assert inputs == sorted(inputs)
            assert targets == sorted(targets)


def test_text_that_contains_the_padding_id():
    ids = torch.zeros(4, 100, dtype=torch.int64)
    inputs, targets, lengths = corrupt_spans(ids, sentinel_id=99, eos_token_id=None, generator=1)
    assert (lengths == inputs.shape[1]).all()
    assert (inputs == 0).sum() + (targets == 0).sum() == ids.numel()


def test_lengths_of_any_integer_type():
    ids, lengths = _ids(3, 30), torch.tensor([30, 5, 17])
    expected = corrupt_spans(ids, sentinel_id=999, lengths=lengths, generator=1)
    for dtype in (torch.int32, torch.uint8):
        narrow = lengths.to(dtype)
        assert all_equal(corrupt_spans(ids, sentinel_id=999, lengths=narrow, generator=1), expected)
        arrays = host.corrupt_spans(ids.numpy(), sentinel_id=999, lengths=narrow.numpy(), seed=1)
        assert all_equal([torch.from_numpy(a) for a in arrays], expected)


def test_t5_lengths():
    """The numbers of the published search, which goes up by one token at a time."""
    assert t5_lengths(512) == (568, 114) == compute_input_and_target_lengths(512, 0.15, 3.0)
    assert host.t5_lengths is t5_lengths

    def published(inputs_length: int, density: float, mean: float) -> tuple[int, int]:
        def sizes(tokens: int) -> tuple[int, int]:
            noise = round(tokens * density)
            spans = round(noise / mean)
            return tokens - noise + spans + 1, noise + spans + 1

        tokens = inputs_length
        while sizes(tokens + 1)[0] <= inputs_length:
            tokens += 1
        targets = sizes(tokens)[1]
        return (tokens - 1, targets - 1) if density == 0.5 and targets > inputs_length else (tokens, targets)

    for inputs_length in (64, 114, 512, 1024, 2048):
        for density, mean in ((0.15, 3.0), (0.5, 3.0), (0.25, 8.0), (0.5, 2.0), (0.1, 2.5)):
            assert t5_lengths(inputs_length, density, mean) == published(inputs_length, density, mean)


def test_composes(device):
    ids, lengths = _ids(3, 30).to(device), torch.tensor([30, 5, 17], device=device)
    numbers = (0.15, 3.0, True, 99, -1, 1, 0, -100, 40, 20, 0)
    for row_lengths in (None, lengths):
        torch.library.opcheck(ops.span_corruption, (ids, row_lengths, torch.tensor(3), None, *numbers))
    compiled = torch.compile(corrupt_spans, fullgraph=True)
    options = {"sentinel_id": 99, "generator": 8}
    assert all_equal(compiled(ids, lengths=lengths, **options), corrupt_spans(ids, lengths=lengths, **options))


def test_what_does_not_fit_is_not_written():
    ids = _ids(3, 50)
    inputs, targets, _ = ops.span_corruption(
        ids, None, torch.tensor(3), None, 0.15, 3.0, True, 99, -1, 1, 0, -100, 5, 2, 0
    )
    whole = corrupt_spans(ids, sentinel_id=99, generator=3)
    assert all_equal([inputs, targets], [whole.inputs[:, :5], whole.targets[:, :2]])


# ---- bad input

_GOOD = {"ids": torch.zeros(2, 40, dtype=torch.int64), "sentinel_id": 99}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ids": [1]}, TypeError, "ids must be a tensor, got list"),
        ({"ids": torch.zeros(2, 3)}, TypeError, "ids must be int64 or int32, got torch.float32"),
        ({"ids": torch.zeros(3).long()}, ValueError, "ids must have shape (N, L), got (3,)"),
        ({"sentinel_id": 0}, ValueError, "sentinel_id must leave room for 2 sentinels, got 0"),
        (
            {"ids": _GOOD["ids"].int(), "sentinel_id": 2**31 - 1, "descending": False},
            ValueError,
            "sentinel_id must leave room for 2 sentinels, got 2147483647",
        ),
        ({"sentinel_id": 1.0}, TypeError, "sentinel_id must be an int, got float"),
        ({"eos_token_id": -1}, ValueError, "eos_token_id must be at least 0, got -1"),
        ({"pad_token_id": 98}, ValueError, "pad_token_id must be none of the 2 sentinels from 99 to 98, got 98"),
        ({"eos_token_id": 99}, ValueError, "eos_token_id must be none of the 2 sentinels from 99 to 98, got 99"),
        (
            {"sentinel_id": 50, "descending": False, "ignore_index": 51},
            ValueError,
            "ignore_index must be none of the 2 sentinels from 50 to 51, got 51",
        ),
        ({"noise_density": 0.0}, ValueError, "noise_density must be in (0, 1), got 0.0"),
        ({"noise_density": 1}, ValueError, "noise_density must be in (0, 1), got 1"),
        ({"noise_density": float("nan")}, ValueError, "noise_density must be finite, got nan"),
        ({"mean_noise_span_length": 0.5}, ValueError, "mean_noise_span_length must be at least 1, got 0.5"),
        ({"descending": 1}, TypeError, "descending must be a bool, got 1"),
        ({"mode": "fast"}, ValueError, "mode must be 'exact' or 'compat', got 'fast'"),
        ({"lengths": [3, 4]}, TypeError, "lengths must be an integer tensor, got list"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": torch.ones(3).long()}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        corrupt_spans(**(_GOOD | arguments))
    assert str(raised.value) == f"corrupt_spans: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in (_GOOD | arguments).items()}
    with pytest.raises(error) as raised:
        host.corrupt_spans(**arrays, seed=1)
    expected = message.replace("torch.", "").replace("a tensor,", "an array,").replace("tensor,", "array,")
    assert str(raised.value) == f"corrupt_spans: {expected}"


def test_bad_lengths():
    for arguments, error, message in (
        ((1,), ValueError, "inputs_length must be at least 4, got 1"),
        ((512, 1.5), ValueError, "noise_density must be in (0, 1), got 1.5"),
        ((512, 0.1, 0), ValueError, "mean_noise_span_length must be at least 1, got 0"),
    ):
        with pytest.raises(error) as raised:
            t5_lengths(*arguments)
        assert str(raised.value) == f"t5_lengths: {message}"
