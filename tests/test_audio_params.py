"""sample_audio_params: the reference bit for bit on every face, shards, and what is drawn how often."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from oracle import all_equal
from scipy import stats

from sslfast import host, ops
from sslfast.augment import AUDIO_PARAMS, AudioAugment, sample_audio_params
from sslfast.reference import audio_augment as reference

ALL = {
    "shift": (-0.5, 0.5),
    "gain_db": (-18.0, 6.0),
    "polarity_p": 0.5,
    "noise_snr_db": (3.0, 30.0),
    "mix_snr_db": (-5.0, 5.0),
}
COLUMN = {name: i for i, name in enumerate(AUDIO_PARAMS)}

# arguments and why they are there
RULES = [
    {},  # nothing
    ALL,
    ALL | {"noise_bank_shape": (7, 100), "mix_length": (0.3, 0.9)},  # some rows are longer than the bank
    ALL | {"mix_snr_db": None, "mix_ratio": (0.2, 1.0)},
    {"shift": (-20, 30), "shift_unit": "samples", "shift_p": 1.0},
    {"gain_db": (-3, -3), "gain_p": 1, "mix_snr_db": (0, 0), "mix_p": 1, "mix_length": (1.0, 1.0)},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(("rows", "length"), [(0, 5), (1, 160), (9, 160), (5, 0), (3, 1)])
def test_equals_reference(device, rules, rows, length):
    for draws in ({"seed": 7}, {"seed": -1, "row_offset": 2**40}, {"seed": 3, "sample_ids": torch.arange(rows) * 5}):
        for lengths in (None, (torch.arange(rows) * length // 4 - 1).clamp(0, length)):
            options = rules | draws | {"lengths": lengths}
            expected = reference.sample_audio_params(rows, length, **options)
            there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            there["generator"] = there.pop("seed")
            assert all_equal([sample_audio_params(rows, length, device=device, **there)], [expected])
            arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            array = host.sample_audio_params(rows, length, threads=2, **arrays)
            assert all_equal([torch.from_numpy(array)], [expected])


def test_names():
    assert AUDIO_PARAMS == host.AUDIO_PARAMS == reference.COLUMNS


def test_a_shard_draws_what_the_whole_does(device):
    mixing = [COLUMN[name] for name in AUDIO_PARAMS if name.startswith("mix_")]
    others = [i for i in range(len(AUDIO_PARAMS)) if i not in mixing]
    whole = sample_audio_params(8, 100, **ALL, generator=5, device=device)
    shard = sample_audio_params(3, 100, **ALL, generator=5, row_offset=5, device=device)
    assert torch.equal(shard[:, others], whole[5:, others])
    ids = torch.tensor([6, 1], device=device)
    chosen = sample_audio_params(2, 100, **ALL, generator=5, sample_ids=ids)
    assert torch.equal(chosen[:, others], whole[ids][:, others])
    assert torch.equal((shard[:, COLUMN["mix_row"]] >= 0), (whole[5:, COLUMN["mix_row"]] >= 0))


def test_a_transform_does_not_change_the_draws_of_another():
    whole = sample_audio_params(50, 100, **ALL, generator=5)
    for name, columns in (
        ("shift", ["shift"]),
        ("gain_db", ["gain_db"]),
        ("noise_snr_db", ["noise_snr_db"]),
        ("mix_snr_db", [name for name in AUDIO_PARAMS if name.startswith("mix_")]),
    ):
        alone = sample_audio_params(50, 100, **{name: ALL[name]}, generator=5)
        at = [COLUMN[c] for c in columns]
        assert torch.equal(alone[:, at], whole[:, at])
        assert (alone[:, at] != sample_audio_params(50, 100, generator=5)[:, at]).any()


# ---- distributions

N = 40000


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    rules = ALL | {"shift_p": 0.3, "gain_p": 0.4, "noise_p": 0.6, "mix_p": 0.7, "noise_bank_shape": (5, 130)}
    params = sample_audio_params(N, 100, **rules, generator=20260101)
    return dict(zip(AUDIO_PARAMS, params.numpy().T, strict=True))


def near(count: int, p: float) -> bool:
    return stats.binomtest(int(count), N, p).pvalue > 1e-3


def test_how_often(drawn):
    assert near((drawn["polarity"] == -1).sum(), 0.5)
    assert near((drawn["gain_db"] != 0).sum(), 0.4)
    assert near(np.isfinite(drawn["noise_snr_db"]).sum(), 0.6)
    assert near((drawn["mix_row"] >= 0).sum(), 0.7)
    assert near((drawn["shift"] != 0).sum(), 0.3 * 100 / 101)
    both = np.isfinite(drawn["noise_snr_db"]) & (drawn["gain_db"] != 0)
    assert near(both.sum(), 0.6 * 0.4)  # independent


def test_uniform_in_their_ranges(drawn):
    for name, low, high in (("gain_db", -18, 6), ("noise_snr_db", 3, 30), ("mix_snr_db", -5, 5)):
        used = drawn[name][np.isfinite(drawn[name]) & (drawn[name] != 0)]
        assert stats.kstest(used, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    shifts = drawn["shift"][drawn["shift"] != 0].astype(int) + 50
    counts = np.delete(np.bincount(shifts, minlength=101), 50)
    assert stats.chisquare(counts).pvalue > 1e-3
    noisy = np.isfinite(drawn["noise_snr_db"])
    assert stats.chisquare(np.bincount(drawn["noise_row"][noisy].astype(int), minlength=5)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(drawn["noise_start"][noisy].astype(int), minlength=31)).pvalue > 1e-3
    keys = drawn["noise_key"]
    assert stats.kstest(keys / 2**52, "uniform").pvalue > 1e-3
    assert len(np.unique(keys)) == N


def test_pieces_of_other_rows(drawn):
    mixed = drawn["mix_row"] >= 0
    piece, at, start = (drawn[name][mixed].astype(int) for name in ("mix_length", "mix_at", "mix_start"))
    assert stats.chisquare(np.bincount(piece, minlength=51)[1:]).pvalue > 1e-3  # WavLM: uniform in 1 .. L / 2
    for place in (at, start):
        assert ((place >= 0) & (place + piece <= 100)).all()
        assert (
            stats.kstest((place + np.random.default_rng(1).random(len(place))) / (101 - piece), "uniform").pvalue > 1e-3
        )
    row = np.arange(N)[mixed]
    assert (drawn["mix_row"][mixed] != row).all()


def test_every_other_row_alike():
    seeds = [sample_audio_params(4, 10, mix_ratio=(0, 1), mix_p=1, generator=seed) for seed in range(3000)]
    others = torch.stack(seeds)[:, :, COLUMN["mix_row"]].long()
    for r in range(4):
        counts = torch.bincount(others[:, r], minlength=4)
        assert counts[r] == 0
        assert stats.chisquare(np.delete(counts.numpy(), r)).pvalue > 1e-3


def test_never_and_always():
    never = sample_audio_params(
        200, 50, **ALL | dict.fromkeys(("shift_p", "gain_p", "noise_p", "mix_p"), 0), generator=1
    )
    assert (never[:, [COLUMN["shift"], COLUMN["gain_db"]]] == 0).all()
    assert (never[:, COLUMN["noise_snr_db"]] == math.inf).all()
    assert (never[:, COLUMN["mix_row"]] == -1).all()
    always = sample_audio_params(200, 50, **ALL | {"polarity_p": 1.0, "noise_p": 1.0, "mix_p": 1.0}, generator=1)
    assert (always[:, COLUMN["polarity"]] == -1).all()
    assert always[:, COLUMN["noise_snr_db"]].isfinite().all()
    assert (always[:, COLUMN["mix_row"]] >= 0).all()


# ---- the rest


def test_composes(device):
    lengths = torch.tensor([9, 3], device=device)
    like = torch.empty((), device=device)
    arguments = (like, torch.tensor(1), None, lengths, 2, 12, [0.0] * 12, [0.5] * 5, False, False, 0, 0, 0)
    torch.library.opcheck(ops.audio_augment_params, arguments)
    compiled = torch.compile(lambda n: sample_audio_params(2, 12, **ALL, lengths=n, generator=3), fullgraph=True)
    assert torch.equal(compiled(lengths), sample_audio_params(2, 12, **ALL, lengths=lengths, generator=3))


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n not in ("seed", "generator", "threads", "device")]

    assert arguments(host.sample_audio_params) == arguments(sample_audio_params)


BAD = [
    ({"shift": 0.5}, TypeError, "shift must be a pair of numbers, got float"),
    ({"shift": (0.5, -0.5)}, ValueError, "shift must be two numbers in order in [-1.0, 1.0], got (0.5, -0.5)"),
    ({"shift": (-2, 2)}, ValueError, "shift must be two numbers in order in [-1.0, 1.0], got (-2, 2)"),
    (
        {"shift": (0.5, 2), "shift_unit": "samples"},
        ValueError,
        "shift must be whole numbers where shift_unit is 'samples', got (0.5, 2)",
    ),
    ({"shift_unit": "seconds"}, ValueError, "shift_unit must be 'fraction' or 'samples', got 'seconds'"),
    ({"shift_p": 1.5}, ValueError, "shift_p must be a probability in [0, 1], got 1.5"),
    ({"gain_db": (0, math.inf)}, ValueError, "gain_db must be finite, got inf"),
    (
        {"noise_snr_db": (0, 2000)},
        ValueError,
        "noise_snr_db must be two numbers in order in [-1000.0, 1000.0], got (0, 2000)",
    ),
    ({"noise_p": None}, TypeError, "noise_p must be a number, got NoneType"),
    ({"mix_ratio": (0, 2)}, ValueError, "mix_ratio must be two numbers in order in [0.0, 1.0], got (0, 2)"),
    (
        {"mix_ratio": (0, 1), "mix_snr_db": (0, 1)},
        ValueError,
        "mix_ratio must be None beside mix_snr_db, got (0, 1)",
    ),
    ({"mix_length": (0, 1.5)}, ValueError, "mix_length must be two numbers in order in [0.0, 1.0], got (0, 1.5)"),
    ({"polarity_p": -1}, ValueError, "polarity_p must be a probability in [0, 1], got -1"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD,
        ({"rows": -1}, ValueError, "rows must be at least 0, got -1"),
        ({"length": 2**31}, ValueError, "length must be in [0, 2147483647], got 2147483648"),
        ({"noise_bank_shape": 3}, TypeError, "noise_bank_shape must be (K, Tn), got int"),
        ({"noise_bank_shape": (0, 3)}, ValueError, "noise_bank_shape must be in [1, 2147483647], got 0"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"sample_ids": torch.arange(3)}, ValueError, "sample_ids must have shape (2,), one a row, got (3,)"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    given = {"rows": 2, "length": 9} | arguments
    with pytest.raises(error) as raised:
        sample_audio_params(**given)
    assert str(raised.value) == f"sample_audio_params: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    with pytest.raises(error) as raised:
        host.sample_audio_params(**arrays, seed=1)
    assert str(raised.value) == f"sample_audio_params: {message.replace('tensor', 'array').replace('torch.', '')}"


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input_of_the_module(arguments, error, message):
    with pytest.raises(error) as raised:
        AudioAugment(**arguments)
    assert str(raised.value) == f"AudioAugment: {message}"
