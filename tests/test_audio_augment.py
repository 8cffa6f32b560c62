"""apply_audio_params: the definition in float64, ratios of powers as asked for, lengths, NaN, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from audio_cases import EVERY, MIXUP, PIECE, by_hand
from oracle import all_equal, assert_no_worse
from scipy import stats

from sslfast import host, ops
from sslfast.augment import AUDIO_PARAMS, apply_audio_params, sample_audio_params
from sslfast.reference import audio_augment as reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

# (shape, lengths, length of the bank or none) and why it is there
SIZES = [
    ((1, 1, 1), None, None),  # one sample
    ((4, 1, 50), [50, 31, 1, 0], None),
    ((4, 3, 50), [50, 31, 1, 0], 13),  # channels; a bank shorter than the rows
    ((3, 1, 1023), None, 5000),
    ((3, 2, 1025), [1025, 1024, 7], 1),  # past a chunk of the CPU kernel
    ((0, 1, 8), None, None),  # no rows
    ((2, 0, 8), None, None),  # no channels
    ((2, 1, 0), None, 5),  # no samples
]


def decibels(power: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power.double().square().mean(-1) / other.double().square().mean(-1))


def tolerance(truth: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Half a unit in the last place, and float32's sums before it."""
    wide = 1e-15 if dtype == torch.float64 else 4e-7
    largest = truth.abs().amax() if truth.numel() else 1.0
    noise = 3e-6  # white noise is made in float32 in every type
    return torch.finfo(dtype).eps / 2 * truth.abs() + (wide + noise) * largest + 1e-7 * (dtype == torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mix", [PIECE, MIXUP])
@pytest.mark.parametrize(("shape", "lengths", "bank_length"), SIZES)
def test_equals_reference(device, shape, lengths, bank_length, mix, dtype):
    compare(device, shape, lengths, bank_length, mix, dtype)


@pytest.mark.parametrize("bank_length", [None, 100000])
def test_long_rows(device, bank_length):
    """Past a part of the sums, and a block of the CUDA kernel."""
    compare(device, (2, 1, 70001), None, bank_length, PIECE, torch.float32)


def compare(device, shape, lengths, bank_length, mix, dtype):
    waves = torch.randn(shape).to(dtype)
    lengths = None if lengths is None else torch.tensor(lengths)
    bank = None if bank_length is None else torch.randn(5, bank_length).to(dtype)
    bank_shape = None if bank is None else tuple(bank.shape)
    rules = EVERY | mix | {"lengths": lengths, "noise_bank_shape": bank_shape}
    params = sample_audio_params(shape[0], shape[2], **rules, generator=3)
    for rollover in (True, False):
        options = {"lengths": lengths, "noise_bank": bank, "rollover": rollover}
        same = reference.apply_audio_params(waves, params, **options)
        wide = options | {"noise_bank": None if bank is None else bank.double()}
        truth = reference.apply_audio_params(waves.double(), params, **wide)
        there = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        ours = apply_audio_params(waves.to(device), params.to(device), **there)
        assert ours.is_contiguous()
        assert_no_worse(ours, same, truth, tolerance(truth, dtype))
        if dtype != torch.bfloat16:
            arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
            array = host.apply_audio_params(waves.numpy(), params.numpy(), threads=2, **arrays)
            on_cpu = apply_audio_params(waves, params, **options)
            assert all_equal([torch.from_numpy(array)], [on_cpu])


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides(device, dtype):
    base = torch.randn(6, 4, 90, device=device).to(dtype)
    params = sample_audio_params(6, 90, **EVERY, **PIECE, generator=1, device=device)
    for waves in (base.mT.contiguous().mT, base[:, ::2], base[:, 1], base.expand(6, 4, 90), base[:, :1, ::2]):
        expected = apply_audio_params(waves.contiguous(), params)
        assert torch.equal(apply_audio_params(waves, params), expected)
        if dtype != torch.bfloat16:
            array = host.apply_audio_params(waves.cpu().numpy(), params.cpu().numpy())
            assert torch.equal(torch.from_numpy(array), apply_audio_params(waves.cpu(), params.cpu()))


# ---- one transform at a time, by hand


def test_nothing_changes_no_bit(device):
    for dtype in DTYPES:
        waves = torch.randn(3, 2, 1500, device=device).to(dtype)
        assert torch.equal(apply_audio_params(waves, by_hand(3).to(device)), waves)


def test_shift():
    waves = torch.arange(1.0, 7).expand(1, 6)
    for shift in (-20, -6, -1, 0, 2, 6, 13):
        params = by_hand(shift=shift)
        assert torch.equal(apply_audio_params(waves, params), waves.roll(shift, 1))
        zeros = torch.cat([torch.zeros(1, 20), waves, torch.zeros(1, 20)], 1)[:, 20 - shift : 26 - shift]
        assert torch.equal(apply_audio_params(waves, params, rollover=False), zeros)
    padded = apply_audio_params(torch.arange(1.0, 7).expand(1, 6), by_hand(shift=1), lengths=torch.tensor([4]))
    assert padded.tolist() == [[4, 1, 2, 3, 0, 0]]


def test_gain_and_polarity():
    waves = torch.randn(1, 100, dtype=torch.float64)
    for gain_db in (-40.0, -6.0, 0.0, 20.0):
        out = apply_audio_params(waves, by_hand(gain_db=gain_db, polarity=-1.0))
        assert torch.allclose(out, waves * -(10 ** (gain_db / 20)), rtol=1e-14, atol=0)
    assert (apply_audio_params(waves, by_hand(gain_db=-math.inf)) == 0).all()


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 7.5, 40.0])
def test_the_ratio_of_powers_is_reached(snr_db):
    """Exactly where the noise is known, and within its chance where it is drawn."""
    waves = torch.randn(2, 2, 5000, dtype=torch.float64) * torch.tensor([[[3.0], [0.01]]])
    n = torch.tensor([5000, 1234])
    bank = torch.randn(2, 700, dtype=torch.float64) + 0.3
    other = by_hand(2, noise_snr_db=snr_db, noise_row=1, noise_start=650)
    for r in range(2):
        added = (apply_audio_params(waves, other, lengths=n, noise_bank=bank) - waves)[r, :, : n[r]]
        assert torch.allclose(decibels(waves[r, :, : n[r]], added), torch.tensor(snr_db).double(), atol=1e-8)
        white = by_hand(2, noise_snr_db=snr_db, noise_key=99)
        added = (apply_audio_params(waves, white, lengths=n) - waves)[r, :, : n[r]]
        spread = 10 / math.log(10) * math.sqrt(2 / int(n[r]))
        assert torch.allclose(decibels(waves[r, :, : n[r]], added), torch.tensor(snr_db).double(), atol=4 * spread)
    mixed = by_hand(2, mix_snr_db=snr_db, mix_length=5000)
    mixed[:, AUDIO_PARAMS.index("mix_row")] = torch.tensor([1.0, 0.0])
    added = apply_audio_params(waves, mixed) - waves
    assert torch.allclose(decibels(waves, added), torch.tensor(snr_db).double(), atol=1e-8)


def test_mixup():
    waves = torch.tensor([[1.0, 2, 3, 4], [10, 20, 30, 40]])
    params = by_hand(2, mix_ratio=0.75, mix_length=4)
    params[:, AUDIO_PARAMS.index("mix_row")] = torch.tensor([1.0, -1.0])
    assert apply_audio_params(waves, params).tolist() == [[3.25, 6.5, 9.75, 13], [10, 20, 30, 40]]
    shorter = apply_audio_params(waves, params, lengths=torch.tensor([3, 2]))
    assert shorter.tolist() == [[3.25, 6.5, 2.25, 0], [10, 20, 0, 0]]


def test_silence_stays_silence():
    waves = torch.stack([torch.zeros(100), torch.randn(100)])
    bank = torch.zeros(1, 50)
    noisy = by_hand(2, noise_snr_db=-30.0, noise_row=0)
    assert torch.equal(apply_audio_params(waves, noisy, noise_bank=bank), waves)
    white = apply_audio_params(waves, by_hand(2, noise_snr_db=-30.0))
    assert (white[0] == 0).all()
    assert (white[1] != waves[1]).all()
    mixed = by_hand(2, mix_snr_db=-30.0, mix_length=100)
    mixed[:, AUDIO_PARAMS.index("mix_row")] = torch.tensor([1.0, 0.0])
    assert torch.equal(apply_audio_params(waves, mixed), waves)


def test_padding_is_not_read_and_comes_out_as_zero(device):
    waves = torch.randn(4, 2, 300, device=device)
    lengths = torch.tensor([300, 120, 1, 0], device=device)
    params = sample_audio_params(4, 300, **EVERY, **PIECE, lengths=lengths, generator=2)
    outside = torch.arange(300, device=device) >= lengths[:, None, None]
    clean = apply_audio_params(waves, params, lengths=lengths)
    poisoned = apply_audio_params(waves.masked_fill(outside, math.nan), params, lengths=lengths)
    assert torch.equal(clean, poisoned)
    assert (clean.masked_select(outside) == 0).all()
    assert clean[0].ne(waves[0]).any()


def test_nan_propagates():
    waves = torch.randn(3, 50)
    waves[1, 7] = math.nan
    shifted = apply_audio_params(waves, by_hand(3, shift=2))
    assert torch.equal(shifted.isnan(), waves.roll(2, 1).isnan())
    noisy = apply_audio_params(waves, by_hand(3, noise_snr_db=10.0))
    assert noisy.isnan().all(1).tolist() == [False, True, False]
    assert not noisy[[0, 2]].isnan().any()
    params = by_hand(3, mix_snr_db=3.0, mix_length=50)
    params[:, AUDIO_PARAMS.index("mix_row")] = torch.tensor([1.0, -1.0, 0.0])
    assert apply_audio_params(waves, params).isnan().all(1).tolist() == [True, False, False]
    for name in ("gain_db", "noise_snr_db", "polarity"):
        assert apply_audio_params(waves, by_hand(3, **{name: math.nan})).isnan().all()


def test_no_parameter_reaches_outside():
    """Whatever is set by hand: the memory of one row is read, or nothing."""
    wild = torch.tensor([math.nan, math.inf, -math.inf, 1e300, -1e300, -1.0, 0.0, 0.5, 3.0, 40.0, 2.0**53])
    generator = torch.Generator().manual_seed(1)
    params = wild[torch.randint(len(wild), (500, len(AUDIO_PARAMS)), generator=generator)].double()
    waves, bank = torch.randn(500, 1, 37), torch.randn(3, 11)
    lengths = torch.randint(-2, 40, (500,), generator=generator).clamp(0, 37)
    for rollover in (True, False):
        out = apply_audio_params(waves, params, lengths=lengths, noise_bank=bank, rollover=rollover)
        assert (out.masked_select(torch.arange(37) >= lengths[:, None, None]) == 0).all()


# ---- white noise


def test_white_noise_is_as_defined():
    params = by_hand(2, noise_key=2.0**52 - 1)
    params[1, AUDIO_PARAMS.index("noise_key")] = 12345
    ours = ops.audio_noise(params, 3, 4099)
    for r, key in enumerate((2**52 - 1, 12345)):
        expected = torch.stack([reference.white_noise(key, c, 4099) for c in range(3)])
        assert torch.allclose(ours[r].double(), expected, rtol=1e-6, atol=2e-6)


def test_white_noise_is_normal_and_white():
    noise = ops.audio_noise(by_hand(noise_key=77), 2, 200000)[0].double().numpy()
    for channel in noise:
        assert stats.kstest(channel, "norm").pvalue > 1e-3
        assert abs(stats.skew(channel)) < 4 * math.sqrt(6 / 200000)
        assert abs(stats.kurtosis(channel)) < 4 * math.sqrt(24 / 200000)
        for lag in (1, 2, 3, 4, 1024):
            assert abs(np.mean(channel[lag:] * channel[:-lag])) < 4 / math.sqrt(200000)
            assert abs(np.mean(channel[lag:] ** 2 * channel[:-lag] ** 2) - 1) < 4 * math.sqrt(8 / 200000)
    assert abs(np.mean(noise[0] * noise[1])) < 4 / math.sqrt(200000)
    beyond = (np.abs(noise) > 4).sum()
    assert stats.binomtest(int(beyond), noise.size, 2 * stats.norm.sf(4)).pvalue > 1e-3


def test_threads_change_nothing():
    waves = np.random.default_rng(1).standard_normal((3, 2, 150000)).astype(np.float32)
    params = host.sample_audio_params(3, 150000, **EVERY, **PIECE, seed=1)
    outs = [host.apply_audio_params(waves, params, threads=n) for n in (1, 2, 7)]
    assert all(np.array_equal(out, outs[0]) for out in outs)


# ---- gradients


@pytest.mark.parametrize("rollover", [True, False])
@pytest.mark.parametrize("mix", [PIECE, MIXUP, {}])
@pytest.mark.parametrize("banked", [True, False])
def test_gradients(device, mix, banked, rollover):
    waves = torch.randn(4, 2, 23, dtype=torch.float64, device=device, requires_grad=True)
    lengths = torch.tensor([23, 17, 1, 0], device=device)
    bank = torch.randn(3, 9, dtype=torch.float64, device=device) if banked else None
    rules = EVERY | mix | {"lengths": lengths, "noise_p": 1.0, "mix_p": 1.0}
    params = sample_audio_params(4, 23, **rules, noise_bank_shape=(3, 9) if banked else None, generator=4)

    def call(x):
        return apply_audio_params(x, params, lengths=lengths, noise_bank=bank, rollover=rollover)

    assert torch.autograd.gradcheck(call, waves, atol=1e-6, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, waves, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_no_worse(device, dtype):
    waves = torch.randn(4, 1, 300).to(dtype)
    params = sample_audio_params(4, 300, **EVERY, **PIECE, generator=6)
    grad = torch.randn(4, 1, 300).to(dtype)

    def gradient(function, x, g, p):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x, p), x, g)[0]

    truth = gradient(reference.apply_audio_params, waves.double(), grad.double(), params)
    same = gradient(reference.apply_audio_params, waves, grad, params)
    ours = gradient(apply_audio_params, waves.to(device), grad.to(device), params.to(device))
    assert_no_worse(ours, same, truth, tolerance(truth, dtype))


def test_gradient_of_silence_is_finite():
    waves = torch.zeros(2, 1, 10, dtype=torch.float64, requires_grad=True)
    params = by_hand(2, noise_snr_db=3.0, mix_snr_db=3.0, mix_length=10)
    params[:, AUDIO_PARAMS.index("mix_row")] = torch.tensor([1.0, 0.0])
    (grad,) = torch.autograd.grad(apply_audio_params(waves, params).sum(), waves, create_graph=True)
    assert torch.equal(grad, torch.ones_like(waves))
    (second,) = torch.autograd.grad(grad.square().sum(), waves)
    assert second.isfinite().all()
