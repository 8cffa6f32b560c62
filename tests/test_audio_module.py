"""AudioAugment beside the two functions it is made of: generators, banks, composing, bad input, the NumPy face."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from audio_cases import EVERY, PIECE, by_hand

from sslfast import host, ops
from sslfast.augment import AudioAugment, apply_audio_params, sample_audio_params


def test_the_module_is_the_two_functions(device):
    waves = torch.randn(5, 200, device=device)
    lengths = torch.tensor([200, 3, 150, 0, 90], device=device)
    bank = torch.randn(2, 80, device=device)
    rules = EVERY | PIECE
    augment = AudioAugment(**rules, noise_bank=bank, rollover=False)
    out = augment(waves, lengths=lengths, generator=9, row_offset=3)
    params = sample_audio_params(
        5, 200, **rules, noise_bank_shape=(2, 80), lengths=lengths, generator=9, row_offset=3, device=device
    )
    expected = apply_audio_params(waves, params, lengths=lengths, noise_bank=bank, rollover=False)
    assert torch.equal(out, expected)
    assert torch.equal(augment.sample_params(waves, lengths=lengths, generator=9, row_offset=3), params)
    assert torch.equal(augment.apply_params(waves, params, lengths=lengths), expected)
    assert torch.equal(augment(waves[:, None], lengths=lengths, generator=9, row_offset=3)[:, 0], expected)


def test_the_module_without_powers(device):
    waves = torch.randn(4, 3, 100, device=device)
    for rules in ({"shift": (-1, 1), "gain_db": (-6, 6)}, {"mix_ratio": (0, 1), "polarity_p": 0.5}):
        augment = AudioAugment(**rules)
        params = augment.sample_params(waves, generator=2)
        assert torch.equal(augment(waves, generator=2), apply_audio_params(waves, params))


def test_generators_of_the_module():
    waves = torch.randn(4, 100)
    outs = [
        [a(waves) for _ in range(2)] for a in (AudioAugment(**EVERY, generator=1), AudioAugment(**EVERY, generator=1))
    ]
    assert torch.equal(outs[0][0], outs[1][0])
    assert torch.equal(outs[0][1], outs[1][1])
    assert not torch.equal(outs[0][0], outs[0][1])
    seed = torch.tensor(5)
    augment = AudioAugment(**EVERY, generator=seed)
    first = augment(waves)
    assert torch.equal(first, augment(waves))
    seed.fill_(6)
    assert not torch.equal(first, augment(waves))
    ids = torch.tensor([3, 1])
    assert torch.equal(augment(waves[ids], sample_ids=ids), augment(waves)[ids])


def test_the_bank_moves_and_is_no_state():
    augment = AudioAugment(noise_snr_db=(0, 1), noise_bank=torch.zeros(1, 4))
    assert augment.state_dict() == {}
    assert augment.double().noise_bank.dtype == torch.float64


def test_composes(device):
    waves = torch.randn(3, 2, 40, device=device)
    lengths, bank = torch.tensor([40, 7, 0], device=device), torch.randn(2, 9, device=device)
    params = sample_audio_params(3, 40, **EVERY, **PIECE, lengths=lengths, generator=1)
    torch.library.opcheck(ops.audio_augment, (waves, params, lengths, bank, True, True))
    torch.library.opcheck(ops.audio_augment, (waves, params, None, None, False, False))
    torch.library.opcheck(ops.audio_noise, (params, 2, 9))
    augment = AudioAugment(**EVERY, **PIECE, noise_bank=bank)
    compiled = torch.compile(lambda x: augment(x, lengths=lengths, generator=4), fullgraph=True, backend="aot_eager")
    expected = augment(waves, lengths=lengths, generator=4)
    assert torch.equal(compiled(waves), expected)
    waves.requires_grad_()
    grads = [
        torch.autograd.grad(f(waves).square().sum(), waves)[0]
        for f in (compiled, lambda x: augment(x, lengths=lengths, generator=4))
    ]
    assert torch.allclose(*grads, atol=1e-6)


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"waves": [1.0]}, TypeError, "waves must be a float32, float16, bfloat16 or float64 tensor, got list"),
        (
            {"waves": torch.zeros(2, 3).long()},
            TypeError,
            "waves must be a float32, float16, bfloat16 or float64 tensor, got torch.int64",
        ),
        ({"waves": torch.zeros(3)}, ValueError, "waves must have shape (N, T) or (N, C, T), T < 2^31, got (3,)"),
        ({"params": torch.zeros(2, 13)}, TypeError, "params must be a float64 tensor, got torch.float32"),
        ({"params": by_hand(3)}, ValueError, "params must have shape (2, 13), got (3, 13)"),
        ({"lengths": torch.ones(2)}, TypeError, "lengths must be an integer tensor, got torch.float32"),
        ({"lengths": torch.arange(3)}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
        (
            {"noise_bank": torch.zeros(2, 3).double()},
            TypeError,
            "noise_bank must be a torch.float32 tensor, like waves, got torch.float64",
        ),
        ({"noise_bank": torch.zeros(3)}, ValueError, "noise_bank must have shape (K, Tn), not empty, got (3,)"),
        ({"noise_bank": torch.zeros(0, 3)}, ValueError, "noise_bank must have shape (K, Tn), not empty, got (0, 3)"),
        ({"rollover": 1}, TypeError, "rollover must be a bool, got 1"),
    ],
)
def test_bad_input(arguments, error, message):
    given = {"waves": torch.zeros(2, 3), "params": by_hand(2)} | arguments
    with pytest.raises(error) as raised:
        apply_audio_params(**given)
    assert str(raised.value) == f"apply_audio_params: {message}"
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    with pytest.raises(error) as raised:
        host.apply_audio_params(**arrays)
    expected = message.replace("tensor", "array").replace("torch.", "").replace("float16, bfloat16", "float16")
    assert str(raised.value) == f"apply_audio_params: {expected}"


def test_a_bank_without_a_ratio_is_an_error():
    message = "noise_snr_db must be given beside noise_bank"
    with pytest.raises(ValueError, match=rf"^AudioAugment: {message}, got None$"):
        AudioAugment(gain_db=(0, 1), noise_bank=torch.zeros(1, 4))
    with pytest.raises(ValueError, match=rf"^sample_audio_params: {message}_shape, got None$"):
        sample_audio_params(2, 9, noise_bank_shape=(1, 4))
    with pytest.raises(ValueError, match=rf"^sample_audio_params: {message}_shape, got None$"):
        host.sample_audio_params(2, 9, noise_bank_shape=(1, 4), seed=0)


def test_bad_banks():
    waves, params = torch.zeros(2, 3), by_hand(2)
    with pytest.raises(ValueError, match=r"noise_bank must be contiguous, got strides \(1, 2\)"):
        apply_audio_params(waves, params, noise_bank=torch.zeros(4, 2).T)
    with pytest.raises(ValueError, match=r"noise_bank must be contiguous, got strides \(4, 8\)"):
        host.apply_audio_params(waves.numpy(), params.numpy(), noise_bank=np.zeros((4, 2), np.float32).T)
    with pytest.raises(
        ValueError, match="noise_bank must not require a gradient, which it has not, got requires_grad=True"
    ):
        apply_audio_params(waves, params, noise_bank=torch.zeros(1, 4, requires_grad=True))
    with pytest.raises(ValueError, match="noise_bank must be on cpu, like waves, got meta"):
        apply_audio_params(waves, params, noise_bank=torch.zeros(1, 4, device="meta"))
    with pytest.raises(ValueError, match="params must be on cpu, like waves, got meta"):
        apply_audio_params(waves, params.to("meta"))


def test_faces_take_the_same_arguments():
    def arguments(function):
        kept = inspect.signature(function).parameters.items()
        return [(n, p.kind, p.default) for n, p in kept if n != "threads"]

    assert arguments(host.apply_audio_params) == arguments(apply_audio_params)
