"""Audio augmentation for a whole batch, as a module."""

from __future__ import annotations

from torch import Tensor

from sslfast import _check, ops
from sslfast._arguments import numbered_rows, row_lengths
from sslfast._audio_rules import Between, audio_rules, check_bank_is_used
from sslfast.augment._own_draws import DrawingModule
from sslfast.augment.audio_augment import apply_audio_params, apply_checked, check_bank, check_waves
from sslfast.random import Generator, seed_tensor


class AudioAugment(DrawingModule):
    """Shift, gain, polarity, mixing and noise of raw waveforms, each with parameters and a chance of its own per row.

    The same draws and numbers as :func:`sslfast.augment.sample_audio_params` followed by
    :func:`sslfast.augment.apply_audio_params`, which say in full what they mean, in two operator calls: the waveforms
    are read once and written once, and read once more where a ratio of powers has to be known first. Unlike modules of
    torch-audiomentations it also augments in ``eval()``: leave it out of an evaluation.

    Args:
        shift: (low, high) of the shift towards later; None, as of every transform: never. Default: None.
        shift_unit: "fraction" of the row's samples, or "samples". Default: "fraction".
        rollover: what is shifted out comes in at the other end; else zeros do. Default: True.
        shift_p: probability of a shift. Default: 0.5.
        gain_db: (low, high) of the gain in dB. Default: None.
        gain_p: probability of a gain. Default: 0.5.
        polarity_p: probability that the sign changes. Default: 0.
        noise_snr_db: (low, high) of waveform over noise, in dB. Default: None.
        noise_p: probability of noise. Default: 0.5.
        mix_snr_db: (low, high) of waveform over a piece of another row, in dB. Default: None.
        mix_ratio: (low, high) of the waveform's weight in mixup; not beside ``mix_snr_db``. Default: None.
        mix_length: (low, high) of the piece's share of the row. Default: (0, 0.5).
        mix_p: probability that another row is mixed in. Default: 0.5.
        noise_bank: (K, Tn), the noise to add; a buffer that moves with the module and is not in its state. Default:
            None, white noise.
        generator: what calls draw from that are given none: None | torch.Generator | int seed | int64 seed tensor. An
            int seeds a torch.Generator, so that successive calls differ and a run repeats; a DataLoader's workers mix
            it with the loader's seed, so that they and their epochs differ too. A tensor is the seed itself, read at
            every call. Default: None, torch's global generator.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a (low, high) is the wrong way round, there is no such unit, both ways of
            mixing are given, the bank is not a contiguous, non-empty (K, Tn), or it is given without ``noise_snr_db``.

    Reference: as of :func:`sslfast.augment.sample_audio_params`.
    """

    noise_bank: Tensor | None

    def __init__(
        self,
        *,
        shift: Between = None,
        shift_unit: str = "fraction",
        rollover: bool = True,
        shift_p: float = 0.5,
        gain_db: Between = None,
        gain_p: float = 0.5,
        polarity_p: float = 0.0,
        noise_snr_db: Between = None,
        noise_p: float = 0.5,
        mix_snr_db: Between = None,
        mix_ratio: Between = None,
        mix_length: tuple[float, float] = (0.0, 0.5),
        mix_p: float = 0.5,
        noise_bank: Tensor | None = None,
        generator: Generator = None,
    ) -> None:
        super().__init__(generator)
        name = type(self).__name__
        self._rules = audio_rules(
            name,
            shift=shift,
            shift_unit=shift_unit,
            shift_p=shift_p,
            gain_db=gain_db,
            gain_p=gain_p,
            polarity_p=polarity_p,
            noise_snr_db=noise_snr_db,
            noise_p=noise_p,
            mix_snr_db=mix_snr_db,
            mix_ratio=mix_ratio,
            mix_length=mix_length,
            mix_p=mix_p,
        )
        self.rollover = _check.boolean(name, "rollover", rollover)
        if noise_bank is not None:
            if not isinstance(noise_bank, Tensor):
                raise TypeError(f"{name}: noise_bank must be a tensor, got {type(noise_bank).__name__}")
            check_bank(name, noise_bank, noise_bank)
        check_bank_is_used(name, "noise_bank", noise_bank, noise_snr_db)
        self.register_buffer("noise_bank", noise_bank, persistent=False)

    def forward(
        self,
        waves: Tensor,
        *,
        lengths: Tensor | None = None,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """Augments a batch.

        Args:
            waves: shape (N, T) or (N, C, T), float32, float16, bfloat16 or float64, any strides; T below 2^31.
            lengths: integer (N,): the samples of each row before its padding, which comes out as zero; in [0, T],
                looked at as by :func:`sample_audio_params`. Default: None, all T.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, the constructor's.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

        Returns:
            A new contiguous tensor of the shape and dtype of ``waves``.

        Raises:
            TypeError: an argument has the wrong type, or the bank another dtype than ``waves``.
            ValueError: a shape, device or number is out of range, or the generator is on another GPU.
        """
        three, params, lengths = self._draw(waves, lengths, generator, row_offset, sample_ids)
        out = apply_checked(three, params, lengths, self.noise_bank, self.rollover, self._rules.powers)
        return out.view(waves.shape)

    def sample_params(
        self,
        waves: Tensor,
        *,
        lengths: Tensor | None = None,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """The parameters that ``forward`` would draw: (N, 13) as of :func:`sslfast.augment.sample_audio_params`.

        Takes and raises what ``forward`` does.
        """
        return self._draw(waves, lengths, generator, row_offset, sample_ids)[1]

    def apply_params(self, waves: Tensor, params: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """:func:`sslfast.augment.apply_audio_params` with this object's bank and rollover: replays ``params``.

        (``nn.Module.apply`` is something else.) Raises what the function does.
        """
        return apply_audio_params(waves, params, lengths=lengths, noise_bank=self.noise_bank, rollover=self.rollover)

    def _draw(
        self,
        waves: Tensor,
        lengths: Tensor | None,
        generator: Generator,
        row_offset: int,
        sample_ids: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        name = type(self).__name__
        three = check_waves(name, waves)
        rows, _, length = three.shape
        check_bank(name, self.noise_bank, waves)
        lengths = row_lengths(name, lengths, rows, waves.device, length)
        sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, rows, waves.device)
        seed = seed_tensor(self._chosen(generator), function=name, device=waves.device)
        bank = (0, 0) if self.noise_bank is None else self.noise_bank.shape
        params = ops.audio_augment_params(
            waves.detach(), seed, sample_ids, lengths, rows, length, *self._rules, *bank, row_offset
        )
        return three, params, lengths
