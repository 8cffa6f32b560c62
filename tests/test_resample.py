"""resample: what torchaudio gives, with lengths; a clear error without torchaudio."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from sslfast.augment import resample


@pytest.fixture
def torchaudio(monkeypatch):
    """A stand-in with torchaudio's name and signature, which takes the nearest sample before."""
    calls = []

    def of_torchaudio(waveform, orig_freq, new_freq, lowpass_filter_width=6, rolloff=0.99):
        calls.append((orig_freq, new_freq, lowpass_filter_width, rolloff))
        size = -(-waveform.shape[-1] * new_freq // orig_freq)
        return waveform[..., torch.arange(size) * orig_freq // new_freq]

    functional = ModuleType("torchaudio.functional")
    functional.resample = of_torchaudio
    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    monkeypatch.setitem(sys.modules, "torchaudio.functional", functional)
    return calls


def test_passes_on_and_gives_lengths(torchaudio):
    waves = torch.arange(20.0).expand(3, 20)
    assert torch.equal(resample(waves, 16000, 8000), waves[:, ::2])
    out, lengths = resample(waves[:, None], 11, 10, lengths=torch.tensor([20, 11, 0]), rolloff=0.9)
    assert out.shape == (3, 1, 19)
    assert lengths.tolist() == [19, 10, 0]
    assert torchaudio == [(16000, 8000, 6, 0.99), (11, 10, 6, 0.9)]


def test_equals_torchaudio():
    functional = pytest.importorskip("torchaudio.functional", reason="torchaudio is optional, and not installed")
    waves = torch.randn(2, 1, 1600)
    out, lengths = resample(waves, round(1.1 * 16000), 16000, lengths=torch.tensor([1600, 11]))
    expected, speed_lengths = functional.speed(waves, 16000, 1.1, torch.tensor([1600, 11]))
    assert torch.allclose(out, expected)
    assert torch.equal(lengths, speed_lengths.long())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"waves": torch.zeros(3)}, ValueError, "waves must have shape (N, T) or (N, C, T), T < 2^31, got (3,)"),
        ({"orig_freq": 0}, ValueError, "orig_freq must be at least 1, got 0"),
        ({"new_freq": 1.5}, TypeError, "new_freq must be an int, got float"),
        ({"lengths": torch.arange(3)}, ValueError, "lengths must have shape (2,), one a row, got (3,)"),
    ],
)
def test_bad_input(torchaudio, arguments, error, message):
    with pytest.raises(error) as raised:
        resample(**({"waves": torch.zeros(2, 3), "orig_freq": 2, "new_freq": 1} | arguments))
    assert str(raised.value) == f"resample: {message}"


def test_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    with pytest.raises(
        ImportError, match=r"^resample: needs torchaudio, which is not installed: pip install torchaudio$"
    ):
        resample(torch.zeros(1, 4), 2, 1)
