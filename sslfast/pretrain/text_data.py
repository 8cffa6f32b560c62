"""The texts of a run: the embedded glosses of WordNet, a file of lines, or a folder of such files."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslfast.pretrain.config import PretrainConfig, UserError

TEXT_SUFFIX = ".txt"
LEAST_TEXTS = 100
LEAST_TEST_TEXTS = 5  # of 100 different texts, 20 on the average
_TEST_EVERY = 5  # one text of so many is kept for testing


@dataclass(frozen=True)
class TextData:
    """Texts in memory, split once and for all into training and test texts.

    Attributes:
        name: ``glosses``, or the file or folder.
        train: Pretraining sees these, without labels.
        test: Only ``sslfast evaluate`` and the report see these.
        train_labels: int64 (N,), or None where the data has no labels.
        test_labels: int64 (M,), or None.
        classes: Name of each class.
        skipped: Files left out because they could not be decoded.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    train_labels: Tensor | None
    test_labels: Tensor | None
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A short hash of all texts and labels; whoever comes back to a run must find the same one."""
        digest = hashlib.blake2b(digest_size=8)
        for texts, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            digest.update("\n".join(texts).encode())  # no text holds the end of a line
            digest.update(b"\0none" if labels is None else b"\0" + labels.numpy().tobytes())
        return digest.hexdigest()

    def described(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return {
            "name": self.name,
            "train_texts": len(self.train),
            "test_texts": len(self.test),
            "train_words": sum(len(text.split()) for text in self.train),
            "classes": list(self.classes),
            "skipped": list(self.skipped),
            "fingerprint": self.fingerprint(),
        }


def load_texts(config: PretrainConfig) -> TextData:
    """Loads the texts a configuration names.

    Raises:
        UserError: There is no text or fewer than 100, or a file cannot be decoded.
    """
    if config.data == "glosses":
        return load_glosses()
    return load_text_files(Path(config.data), skip_unreadable=config.skip_unreadable)


def is_test(text: str) -> bool:
    """Whether a text is kept for testing: by its hash, so that equal texts, and those of a longer file, stay there."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % _TEST_EVERY == 0


def load_glosses() -> TextData:
    """Definitions of 20,000 nouns of WordNet 3.0, labelled by 25 lexicographer files, classes of meaning."""
    packed = files("sslfast.pretrain").joinpath("corpus", "wordnet_glosses.tsv.gz").read_bytes()
    rows = [line.split("\t") for line in gzip.decompress(packed).decode().splitlines()]
    return _split("glosses", [text for _, text in rows], [name for name, _ in rows], [])


def load_text_files(path: Path, *, skip_unreadable: bool = False) -> TextData:
    """Every line that is not blank of a file, or of every .txt file under a folder.

    Where all files of a folder lie in sub-folders, the name of the first one is the label. A fifth of the texts, by
    their hash, is kept for testing. All texts are held in memory.

    Raises:
        UserError: No such file or folder, no text in it, fewer than 100, hardly two different ones, or a file that is
            not UTF-8 (unless skipped).
    """
    if not path.exists():
        raise UserError(f"--data: no such file or folder: {path}")
    folder = path if path.is_dir() else path.parent
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() == TEXT_SUFFIX and p.is_file())
    if path.is_dir() and not found:
        raise UserError(f"--data: no text ({TEXT_SUFFIX}) in the folder {path}")
    texts: list[str] = []
    labels: list[str] = []
    skipped = []
    for file in found if path.is_dir() else [path]:
        lines, fault = _lines(file)
        name = file.relative_to(folder)
        if not fault:
            texts += lines
            labels += [name.parts[0] if len(name.parts) > 1 else ""] * len(lines)
        elif skip_unreadable:
            skipped.append(str(name))
        else:
            raise UserError(f"--data: cannot read {file} ({fault}); --skip-unreadable leaves such files out")
    if len(texts) < LEAST_TEXTS:
        found_texts = f"{len(texts) or 'no'} text{'s' * (len(texts) != 1)}"
        raise UserError(
            f"--data: {found_texts} in {path}, at least {LEAST_TEXTS} are needed; a text is a line that is not blank"
        )
    return _split(str(path), texts, labels, skipped)


def _lines(path: Path) -> tuple[list[str], str]:
    """The lines of a file that are not blank, and why there are none where it cannot be decoded."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        return [], f"not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}"
    except OSError as error:
        return [], error.strerror or type(error).__name__
    return [line.strip() for line in lines if line.strip()], ""


def _split(name: str, texts: list[str], names: list[str], skipped: list[str]) -> TextData:
    """Training and test texts, with labels where every text has a name of a class and there are two or more."""
    classes = tuple(sorted(set(names)))
    tested = torch.tensor([is_test(text) for text in texts])
    test, train = ([texts[place] for place in part.nonzero().flatten().tolist()] for part in (tested, ~tested))
    if min(len(test), len(train)) < LEAST_TEST_TEXTS:
        raise UserError(
            f"--data: of {len(texts)} texts in {name} the split by hash keeps {len(test)} for testing and {len(train)}"
            f" to train on, at least {LEAST_TEST_TEXTS} are needed of each; are they all the same?"
        )
    if "" in classes or len(classes) < 2:
        return TextData(name, tuple(train), tuple(test), None, None, (), tuple(skipped))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = torch.tensor([numbers[label] for label in names])
    return TextData(name, tuple(train), tuple(test), labels[~tested], labels[tested], classes, tuple(skipped))
