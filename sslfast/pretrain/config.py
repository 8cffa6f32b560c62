"""The settings of one pretraining run, and the keyed seeds of its draws."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

IMAGE_METHODS = ("simclr", "masked-pixels", "mae")
TEXT_METHODS = ("mlm",)
METHODS = (*IMAGE_METHODS, *TEXT_METHODS)
IMAGE_DATA = ("digits", "fashion-mnist")
TEXT_DATA = ("glosses",)
BUILTIN_DATA = (*IMAGE_DATA, *TEXT_DATA)
OPTIMIZERS = ("adam", "adamw", "sgd")
NORMS = ("batch", "group")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed")


class UserError(Exception):
    """A mistake the user can mend: shown as one line without a traceback, exit code 2."""


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the outcome of a run.

    Attributes:
        method: One of ``METHODS``.
        data: One of ``BUILTIN_DATA``, or the absolute path of a folder of images or of a file or folder of texts.
        seed: Every random draw is keyed by it.
        epochs: Passes over the training images or texts.
        batch_size: Images or texts per step (SimCLR sees two views of each).
        optimizer: ``adam``, ``adamw`` or ``sgd`` (momentum 0.9).
        lr: Peak learning rate, reached after the warm-up.
        weight_decay: L2 penalty (decoupled for ``adamw``); not applied to biases and normalisation layers.
        dropout: Probability, on the features (ResNet) or inside the blocks (ViT, BERT).
        warmup_epochs: Epochs of linear warm-up before the cosine decay to zero.
        patience: Validations without a new best loss before the run stops early; 0 = never.
        val_every: Epochs between validations.
        val_fraction: Share of the training images or texts held out for the validation loss; never those for testing.
        temperature: SimCLR: temperature of NT-Xent.
        crop_scale: SimCLR: least share of the image that a random resized crop keeps.
        hflip: SimCLR: probability of a horizontal flip.
        jitter: SimCLR: strength of brightness, contrast and saturation; a quarter of it for hue.
        erase_ratio: SimCLR: share of the patches of each view that is blanked; 0 = none.
        mask_ratio: masked-pixels and mae: share of the patches that is hidden; mlm: probability that a token is.
        patch_size: Side of a patch in pixels.
        width: ResNet: channels of the first stage; ViT and BERT: half the token dimension (even).
        norm: ResNet: ``batch`` or ``group`` normalisation.
        pool_grid: ResNet: the last feature map is averaged to this many cells per side.
        image_size: Side to which the images are resized.
        vocab_size: mlm: most entries of the WordPiece vocabulary.
        max_length: mlm: most tokens of a text, [CLS] and [SEP] among them; what is longer is cut.
        depth: mlm: transformer layers.
        whole_words: mlm: mask all tokens of a word together.
        threads: CPU threads.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32-true`` or ``bf16-mixed``.
        log_every: Steps between two rows of metrics.csv.
        skip_unreadable: Leave out files that cannot be decoded instead of stopping.
    """

    method: str
    data: str
    seed: int = 0
    epochs: int = 100
    batch_size: int = 256
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    dropout: float = 0.0
    warmup_epochs: int = 5
    patience: int = 0
    val_every: int = 1
    val_fraction: float = 0.1
    temperature: float = 0.2
    crop_scale: float = 0.2
    hflip: float = 0.5
    jitter: float = 0.4
    erase_ratio: float = 0.0
    mask_ratio: float = 0.6
    patch_size: int = 4
    width: int = 32
    norm: str = "batch"
    pool_grid: int = 2
    image_size: int = 64
    vocab_size: int = 2000
    max_length: int = 64
    depth: int = 2
    whole_words: bool = False
    threads: int = 1
    device: str = "auto"
    precision: str = "32-true"
    log_every: int = 1
    skip_unreadable: bool = False

    @property
    def unit(self) -> str:
        """What the run is pretrained on: ``images`` or ``texts``."""
        return "texts" if self.method in TEXT_METHODS else "images"

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return asdict(self)


def suggest(value: str, choices: Iterable[str]) -> str:
    """`` (did you mean 'simclr'?)`` for a misspelt value, or an empty string when nothing is close."""
    close = difflib.get_close_matches(value.lower(), list(choices), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def keyed_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed that depends on its arguments alone.

    Every draw of a run takes its seed from here, keyed by what it is for and by epoch or step, never from the state of
    a generator: a resumed run therefore makes the draws that the uninterrupted run would have made.
    """
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def option_name(field: str) -> str:
    """The command line option of a setting: ``batch_size`` -> ``--batch-size``."""
    return "--" + field.replace("_", "-")
